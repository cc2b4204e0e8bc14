//! Images from files.

use std::io::{Cursor, Read};
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use umbra_file::{ReadError, read_file};
use umbra_foreign::{Foreign, START, check_jpeg, check_png};

use crate::{DecodeError, ImageError, ImageSpec, LoadError};

/// Largest image file.
const MAX_FILE: u64 = 64 << 20;
/// Largest side in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most memory that decoding may take: a photograph of 50 million pixels fits.
const MAX_MEMORY: u64 = 256 << 20;
/// An image that would have to be enlarged more than this shows nothing that a network could know.
const MAX_ENLARGED: u32 = 4;
/// Beyond the limits of size.
const TOO_LARGE: DecodeError = DecodeError::TooLarge { side: MAX_SIDE, megabytes: MAX_MEMORY >> 20 };

/// An image in the size of a network's input.
#[derive(Clone, PartialEq)]
pub struct Image {
    bytes: Vec<u8>,
    channels: usize,
    height: usize,
    width: usize,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Image {
    /// Never the pixels: it is what the server is not to see.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channels, height, width, notes, warnings, .. } = self;
        write!(f, "Image({channels} x {height} x {width}, {notes:?}, {warnings:?})")
    }
}

impl Image {
    /// Decodes a PNG or JPEG file, turned upright as its metadata says. Transparent parts become white, gray becomes
    /// colour (or colour gray) as the network takes it; another size is cropped in the middle to the network's
    /// proportions and resized. Each change is told in [`Image::notes`], or in [`Image::warnings`] where it loses much.
    /// A file that was cut or damaged anywhere is refused.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(file: &[u8], input: &ImageSpec) -> Result<Self, DecodeError> {
        if !matches!(input.channels, 1 | 3) {
            return Err(DecodeError::Channels { channels: input.channels });
        }
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        let mut image = decode_image(file, &mut notes, &mut warnings)?;
        if image.color().has_alpha() {
            notes.extend(on_white(&mut image));
        }
        let (height, width) = (input.height, input.width);
        // Inputs are 1,024 on a side at most.
        let size = (width as u32, height as u32);
        if image.dimensions() != size {
            image = fit(&image, size, &mut notes, &mut warnings)?;
        }
        let colour = image.color().has_color();
        let bytes = if input.channels == 1 {
            if colour {
                notes.push("colours turned to gray".into());
            }
            image.to_luma8().into_raw()
        } else {
            if !colour {
                notes.push("gray shown as colour".into());
            }
            let rgb = image.to_rgb8();
            (0..3).flat_map(|channel| rgb.pixels().map(move |pixel| pixel[channel])).collect()
        };
        Ok(Self { bytes, channels: input.channels, height, width, notes, warnings })
    }

    /// Reads an image file; see [`Image::decode`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(path: impl AsRef<Path>, input: &ImageSpec) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let file = read_file(path, "an image", MAX_FILE)?;
        Self::decode(&file, input).map_err(|reason| LoadError::Decode { path: path.into(), reason })
    }

    /// Reads an image file to the end of a stream, of which messages speak as `name`; see [`Image::decode`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn read(source: impl Read, name: &Path, input: &ImageSpec) -> Result<Self, LoadError> {
        let (path, what) = (name.to_path_buf(), "an image");
        let mut file = Vec::new();
        if let Err(reason) = source.take(MAX_FILE + 1).read_to_end(&mut file) {
            return Err(ReadError::Io { path, what, reason }.into());
        }
        let found = file.len() as u64;
        if found > MAX_FILE {
            return Err(ReadError::TooLarge { path, what, found, limit: MAX_FILE }.into());
        }
        Self::decode(&file, input).map_err(|reason| LoadError::Decode { path, reason })
    }

    /// An image from a data set: bytes `[C, H, W]`.
    ///
    /// # Errors
    /// [`ImageError::Invalid`] where their number is another.
    pub fn from_bytes(bytes: &[u8], input: &ImageSpec) -> Result<Self, ImageError> {
        input.normalise(bytes)?;
        let ImageSpec { channels, height, width, .. } = *input;
        Ok(Self { bytes: bytes.to_vec(), channels, height, width, notes: Vec::new(), warnings: Vec::new() })
    }

    /// `[C, H, W]`: the input of [`ImageSpec::normalise`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was changed to make it fit, in words.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What makes a right class unlikely, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The colour of a pixel, for showing it; black outside.
    #[must_use]
    pub fn rgb(&self, row: usize, column: usize) -> [u8; 3] {
        let plane = self.height * self.width;
        let at = |channel: usize| {
            let index = channel.min(self.channels - 1) * plane + row * self.width + column;
            if row < self.height && column < self.width { self.bytes[index] } else { 0 }
        };
        [at(0), at(1), at(2)]
    }
}

fn decode_image(file: &[u8], notes: &mut Vec<String>, warnings: &mut Vec<String>) -> Result<DynamicImage, DecodeError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    let reason = |error: &dyn std::error::Error| error.to_string().replace('\n', " ");
    let damaged = |error: image::ImageError| match error {
        image::ImageError::Limits(_) => TOO_LARGE,
        image::ImageError::Unsupported(error) => DecodeError::Unsupported { reason: reason(&error) },
        other => DecodeError::Damaged { reason: reason(&other) },
    };
    let mut reader = ImageReader::new(Cursor::new(file));
    reader.limits(limits.clone());
    let reader = reader.with_guessed_format().map_err(|e| damaged(e.into()))?;
    let format = reader.format();
    match format {
        Some(ImageFormat::Png) => notes.extend(whole_png(file)?),
        Some(ImageFormat::Jpeg) => {}
        _ => return Err(no_image(file)),
    }
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    // Not every decoder counts its output against the limit.
    if width > MAX_SIDE || height > MAX_SIDE || decoder.total_bytes() > MAX_MEMORY {
        return Err(TOO_LARGE);
    }
    if format == Some(ImageFormat::Jpeg) {
        whole_jpeg(file, (width, height), notes, warnings)?;
    }
    decoder.set_limits(limits).map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if orientation != image::metadata::Orientation::NoTransforms {
        image.apply_orientation(orientation);
        notes.push("turned upright as its metadata says".into());
    }
    Ok(image)
}

fn no_image(file: &[u8]) -> DecodeError {
    let found = Foreign::of(&file[..file.len().min(START)], "");
    let remedy = found.map_or("convert it to one of these", |found| found.remedy_for_image());
    DecodeError::UnknownFormat { found: found.map(|found| found.what()), remedy }
}

fn not_whole(fault: umbra_foreign::Fault) -> DecodeError {
    DecodeError::NotWhole { reason: fault.to_string() }
}

/// What is to be said of a PNG file that is whole.
fn whole_png(file: &[u8]) -> Result<Option<String>, DecodeError> {
    let png = check_png(file).map_err(not_whole)?;
    Ok(match (png.frames, png.still_is_first) {
        (0, _) | (1, true) => None,
        (frames, true) => Some(format!("an animation: the first of its {frames} frames was taken")),
        (frames, false) => Some(format!("an animation: its still image was taken, none of its {frames} frames")),
    })
}

/// Says what is to be said of a JPEG file that is whole.
fn whole_jpeg(
    file: &[u8],
    size: (u32, u32),
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), DecodeError> {
    let jpeg = check_jpeg(file, size).map_err(not_whole)?.unwrap_or_default();
    if jpeg.more_images {
        notes.push("the first of several images in the file was taken".into());
    }
    if jpeg.unrefined {
        warnings.push("the image is blurred: passes that refine it are missing in the file".into());
    }
    Ok(())
}

/// Puts an image with transparency on white; says so where any was.
fn on_white(image: &mut DynamicImage) -> Option<String> {
    let gray = !image.color().has_color();
    let rgba = image.to_rgba8();
    let transparent = rgba.pixels().any(|pixel| pixel[3] < 255);
    let rgb = RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        Rgb([r, g, b].map(|v| ((v * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    });
    let rgb = DynamicImage::ImageRgb8(rgb);
    *image = if gray { DynamicImage::ImageLuma8(rgb.to_luma8()) } else { rgb };
    transparent.then(|| "transparent parts shown white".into())
}

/// Crops to the proportions of `size`, in the middle, and resizes.
fn fit(
    image: &DynamicImage,
    (width, height): (u32, u32),
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<DynamicImage, DecodeError> {
    let (from_width, from_height) = image.dimensions();
    // The largest part with the proportions of the target; sides are at most 2^14, so that products fit.
    let crop_width = from_width.min((from_height * width).div_ceil(height)).max(1);
    let crop_height = from_height.min((from_width * height).div_ceil(width)).max(1);
    if width > MAX_ENLARGED * crop_width || height > MAX_ENLARGED * crop_height {
        let text = |width: u32, height: u32| format!("{width} x {height}");
        return Err(DecodeError::TooSmall {
            width: from_width,
            height: from_height,
            used: text(crop_width, crop_height),
            wanted: text(width, height),
            least: text(width.div_ceil(MAX_ENLARGED), height.div_ceil(MAX_ENLARGED)),
        });
    }
    if width >= 2 * crop_width || height >= 2 * crop_height {
        let times = f64::from(width) / f64::from(crop_width);
        warnings.push(format!("the image is small and was enlarged {times:.1} times: it may show too little"));
    }
    let part = f64::from(crop_width) * f64::from(crop_height) / (f64::from(from_width) * f64::from(from_height));
    if part < 0.5 {
        warnings.push(format!(
            "only the middle {:.1} % of the image was used: the network takes images of {width} x {height}",
            100.0 * part
        ));
    }
    let cropped = if (crop_width, crop_height) == (from_width, from_height) {
        String::new()
    } else {
        format!("cropped to {crop_width} x {crop_height} and ")
    };
    notes.push(format!("{from_width} x {from_height} pixels {cropped}resized to {width} x {height}"));
    let part = image.crop_imm((from_width - crop_width) / 2, (from_height - crop_height) / 2, crop_width, crop_height);
    Ok(part.resize_exact(width, height, FilterType::CatmullRom))
}
