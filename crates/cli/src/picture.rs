//! Pictures: shipped ones, and drawing in a terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;

use umbra_image::{Image, ImageSpec};

/// Pictures of the CIFAR-10 test set, named after their true classes.
const SHIPPED: [(&str, &[u8]); 8] = [
    ("airplane", include_bytes!("../../../assets/pictures/airplane.png")),
    ("automobile", include_bytes!("../../../assets/pictures/automobile.png")),
    ("cat", include_bytes!("../../../assets/pictures/cat.png")),
    ("dog", include_bytes!("../../../assets/pictures/dog.png")),
    ("frog", include_bytes!("../../../assets/pictures/frog.png")),
    ("horse", include_bytes!("../../../assets/pictures/horse.png")),
    ("ship", include_bytes!("../../../assets/pictures/ship.png")),
    ("truck", include_bytes!("../../../assets/pictures/truck.png")),
];

/// The shipped picture of that name.
pub fn shipped(name: &str, input: &ImageSpec) -> anyhow::Result<Image> {
    let found = SHIPPED.iter().find(|(n, _)| *n == name);
    let (_, bytes) = found.ok_or_else(|| {
        let names: Vec<&str> = SHIPPED.iter().map(|(n, _)| *n).collect();
        anyhow::anyhow!(
            "--picture {name}: no such picture, expected one of {}; use --image for a file",
            names.join(", ")
        )
    })?;
    Ok(Image::decode(bytes, input)?)
}

/// A picture file.
pub fn load(path: &Path, input: &ImageSpec) -> anyhow::Result<Image> {
    Ok(Image::load(path, input)?)
}

/// The picture as coloured half blocks, two rows of pixels a line; nothing where standard output is no terminal or colours are
/// not wanted.
pub fn draw(picture: &Image) -> Option<String> {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let capable = std::env::var("TERM").is_ok_and(|term| term != "dumb");
    (std::io::stdout().is_terminal() && wanted && capable).then(|| half_blocks(picture))
}

fn half_blocks(picture: &Image) -> String {
    let mut out = String::new();
    for row in (0..picture.height()).step_by(2) {
        out.push_str("  ");
        for column in 0..picture.width() {
            let [r, g, b] = picture.rgb(row, column);
            let [r2, g2, b2] = picture.rgb(row + 1, column);
            // Writing to a string does not fail.
            let _ = write!(out, "\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m\u{2580}");
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_model::Normalisation;

    #[test]
    fn draws_two_rows_a_line() {
        let normalisation = Normalisation::PerImage { min_std: 0.05 };
        let input = ImageSpec { channels: 3, height: 2, width: 1, normalisation, clip: None };
        let picture = Image::from_bytes(&[1, 2, 3, 4, 5, 6], &input).unwrap();
        assert_eq!(half_blocks(&picture), "  \x1b[38;2;1;3;5m\x1b[48;2;2;4;6m\u{2580}\x1b[0m\n");
    }

    #[test]
    fn every_shipped_picture_decodes() {
        let normalisation = Normalisation::PerImage { min_std: 0.05 };
        let input = ImageSpec { channels: 3, height: 32, width: 32, normalisation, clip: None };
        for (name, _) in SHIPPED {
            assert!(shipped(name, &input).unwrap().notes().is_empty(), "{name}");
        }
        assert!(shipped("unicorn", &input).unwrap_err().to_string().contains("airplane"));
    }
}
