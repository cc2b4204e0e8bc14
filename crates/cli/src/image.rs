//! Images in a terminal.

use std::fmt::Write;
use std::io::IsTerminal;

use umbra::image::Image;

/// The image as coloured half blocks, two rows of pixels a line; nothing where standard output is no terminal or
/// colours are not wanted.
pub fn draw(image: &Image) -> Option<String> {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let capable = std::env::var("TERM").is_ok_and(|term| term != "dumb");
    (std::io::stdout().is_terminal() && wanted && capable).then(|| half_blocks(image))
}

fn half_blocks(image: &Image) -> String {
    let mut out = String::new();
    for row in (0..image.height()).step_by(2) {
        out.push_str("  ");
        for column in 0..image.width() {
            let [r, g, b] = image.rgb(row, column);
            let [r2, g2, b2] = image.rgb(row + 1, column);
            // Writing to a string does not fail.
            let _ = write!(out, "\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m\u{2580}");
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use umbra::image::{ImageSpec, Normalisation};

    use super::*;

    #[test]
    fn draws_two_rows_a_line() {
        let normalisation = Normalisation::PerImage { min_std: 0.05 };
        let input = ImageSpec { channels: 3, height: 2, width: 1, normalisation, clip: None };
        let image = Image::from_bytes(&[1, 2, 3, 4, 5, 6], &input).unwrap();
        assert_eq!(half_blocks(&image), "  \x1b[38;2;1;3;5m\x1b[48;2;2;4;6m\u{2580}\x1b[0m\n");
    }
}
