//! Plots as SVG.

use anyhow::anyhow;
use plotters::prelude::*;

/// Width (of a plot with few bars) and height in pixels.
const SIZE: (u32, u32) = (720, 420);
/// Width that the name of a bar takes.
const BAR: u32 = 150;
const COLOURS: [RGBColor; 4] =
    [RGBColor(37, 99, 165), RGBColor(214, 104, 40), RGBColor(70, 140, 70), RGBColor(120, 90, 160)];

/// Bars, each with a name under it.
pub fn bars(title: &str, axis: &str, bars: &[(String, f64)]) -> anyhow::Result<String> {
    let top = bars.iter().map(|b| b.1).fold(0.0, f64::max) * 1.1 + f64::MIN_POSITIVE;
    let width = SIZE.0.max(BAR.saturating_mul(bars.len().try_into()?));
    draw((width, SIZE.1), |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d((0..bars.len().saturating_sub(1)).into_segmented(), 0.0..top)?;
        let name = |place: &SegmentValue<usize>| match place {
            SegmentValue::CenterOf(i) => bars.get(*i).map_or(String::new(), |b| b.0.clone()),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(bars.len().max(1))
            .x_label_formatter(&name)
            .y_desc(axis)
            .draw()?;
        chart.draw_series(bars.iter().enumerate().map(|(i, (_, value))| {
            let end = if i + 1 < bars.len() { SegmentValue::Exact(i + 1) } else { SegmentValue::Last };
            let mut bar = Rectangle::new([(SegmentValue::Exact(i), 0.0), (end, *value)], COLOURS[0].filled());
            bar.set_margin(0, 0, 14, 14);
            bar
        }))?;
        Ok(())
    })
}

/// Lines with points over a logarithmic axis, each with its name.
pub fn lines(
    title: &str,
    (x_axis, y_axis): (&str, &str),
    lines: &[(String, Vec<(f64, f64)>)],
) -> anyhow::Result<String> {
    let points = || lines.iter().flat_map(|line| line.1.iter());
    let (left, right) = points().fold((f64::INFINITY, 1.0), |(l, r), p| (p.0.min(l), p.0.max(r)));
    let (low, high) = points().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (p.1.min(l), p.1.max(h)));
    if !(left > 0.0 && low.is_finite()) {
        return Err(anyhow!("{title}: no points to plot"));
    }
    let room = (high - low).max(0.5) * 0.15;
    draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((left / 1.2..right * 1.2).log_scale(), low - room..high + room)?;
        chart.configure_mesh().light_line_style(TRANSPARENT).x_desc(x_axis).y_desc(y_axis).draw()?;
        for (i, (name, points)) in lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(4);
            chart.draw_series(line)?.label(name).legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
        }
        chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(
    size: (u32, u32),
    paint: impl Fn(&Area<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let painted = area.fill(&WHITE).map_err(Into::into).and_then(|()| paint(&area));
        painted.and_then(|()| area.present().map_err(Into::into)).map_err(|reason| anyhow!("plot: {reason}"))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_name_what_they_show() {
        let svg = bars("Time", "seconds", &[("multiplexed".into(), 2.0), ("channel".into(), 1.5)]).unwrap();
        assert!(
            svg.starts_with("<svg") && ["Time", "seconds", "multiplexed", "channel"].iter().all(|t| svg.contains(t))
        );
        let line = ("slice".to_string(), vec![(16.0, 80.0), (64.0, 89.0), (256.0, 89.5)]);
        let svg = lines("Clusters", ("K", "accuracy"), &[line]).unwrap();
        assert!(["Clusters", "slice", "accuracy"].iter().all(|t| svg.contains(t)));
        assert!(lines("Nothing", ("x", "y"), &[]).is_err());
    }
}
