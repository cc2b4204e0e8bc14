//! Image files and data sets.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use image::{DynamicImage, ImageFormat, Luma, LumaA, Rgb, Rgba};
use umbra_image::{DecodeError, Image, softmax, top_class};
use umbra_model::{Dataset, DatasetKind, Graph, ImageSpec, ModelError, Normalisation, Reference, Split};

fn input(channels: usize, height: usize, width: usize) -> ImageSpec {
    ImageSpec { channels, height, width, normalisation: Normalisation::PerImage { min_std: 0.05 }, clip: None }
}

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).expect("a file");
    bytes.into_inner()
}

fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

#[test]
fn shipped_images_are_what_their_names_say() -> Result<(), ModelError> {
    let graph = Graph::load(repository("zoo/r20-16-cifar10-cyclic"))?;
    let reference = Reference::<f32>::new(&graph);
    let mut count = 0;
    for entry in fs::read_dir(repository("assets/images")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "png") {
            continue;
        }
        let read = Image::load(&path, graph.input()).expect("an image");
        assert!(read.notes().is_empty(), "{:?}", read.notes());
        let input = graph.input().normalise(read.bytes()).expect("an image");
        let logits = reference.forward(&input).expect("logits");
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let class = top_class(&logits).expect("a class");
        assert_eq!(path.file_stem().and_then(|s| s.to_str()), Some(&*graph.classes()[class]));
        assert!(softmax(&logits)[class] > 0.5);
        count += 1;
    }
    assert!(count >= 5, "{count} images");
    Ok(())
}

#[test]
fn images_of_the_right_size_keep_every_byte() {
    let image = image::RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8, y as u8 * 10, 200 + x as u8]));
    let read = Image::decode(&file(image.clone(), ImageFormat::Png), &input(3, 3, 5)).expect("an image");
    assert!(read.notes().is_empty());
    for (x, y, pixel) in image.enumerate_pixels() {
        for channel in 0..3 {
            assert_eq!(read.bytes()[channel * 15 + y as usize * 5 + x as usize], pixel[channel]);
        }
        assert_eq!(read.rgb(y as usize, x as usize), pixel.0);
    }
    assert_eq!(read.rgb(3, 0), [0; 3]);
    assert_eq!(Image::from_bytes(read.bytes(), &input(3, 3, 5)).as_ref(), Ok(&read));
    assert!(Image::from_bytes(&[0; 44], &input(3, 3, 5)).is_err());
}

#[test]
fn other_sizes_are_cropped_in_the_middle_and_resized() {
    // Left and right quarters black, the middle half white.
    let image =
        image::RgbImage::from_fn(80, 40, |x, _| if (20..60).contains(&x) { Rgb([255; 3]) } else { Rgb([0; 3]) });
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let read = Image::decode(&file(image.clone(), format), &input(3, 8, 8)).expect("an image");
        assert_eq!(read.notes(), ["80 x 40 pixels cropped to 40 x 40 and resized to 8 x 8"]);
        let middle = read.rgb(4, 4);
        assert!(middle.iter().all(|&v| v > 250), "{middle:?}");
    }
    let tall =
        Image::decode(&file(image::RgbImage::new(8, 32), ImageFormat::Png), &input(3, 64, 16)).expect("an image");
    assert_eq!(tall.notes(), ["8 x 32 pixels resized to 16 x 64"]);
    assert_eq!(tall.bytes().len(), 3 * 64 * 16);
}

#[test]
fn images_that_show_too_little_are_refused_or_warned_of() {
    let sized =
        |width, height| Image::decode(&file(image::RgbImage::new(width, height), ImageFormat::Png), &input(3, 32, 32));
    for (width, height) in [(1, 1), (7, 7), (3, 4000), (4000, 7)] {
        let refused = sized(width, height).expect_err("too small").to_string();
        assert!(refused.contains(&format!("{width} x {height} pixels")) && refused.contains("8 x 8"), "{refused}");
    }
    let small = sized(8, 8).expect("an image");
    assert_eq!(small.warnings(), ["the image is small and was enlarged 4.0 times: it may show too little"]);
    let long = sized(640, 32).expect("an image");
    let expected = "only the middle 5.0 % of the image was used: the network takes images of 32 x 32";
    assert_eq!(long.warnings(), [expected]);
    for (width, height) in [(28, 28), (17, 17), (32, 32), (1600, 900), (60, 40)] {
        assert!(sized(width, height).is_ok_and(|image| image.warnings().is_empty()), "{width} x {height}");
    }
}

/// Files of the kinds that strangers bring, with what is said of them.
#[test]
fn files_of_every_form_are_decoded() {
    let read = |name: &str| {
        let path = repository("crates/foreign/tests/images").join(name);
        Image::load(path, &input(3, 40, 52)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let reference = read("baseline-444.jpg");
    let far = |a: &Image, b: &Image| {
        let pixels = a.bytes().iter().zip(b.bytes());
        pixels.map(|(&a, &b)| f64::from(a.abs_diff(b))).sum::<f64>() / a.bytes().len() as f64
    };
    for name in
        ["baseline.jpg", "progressive.jpg", "progressive-444.jpg", "restart.jpg", "restart-progressive.jpg", "cmyk.jpg"]
    {
        let image = read(name);
        assert!(image.notes().is_empty() && far(&image, &reference) < 30.0, "{name}: {}", far(&image, &reference));
    }
    for name in ["gray.jpg", "gray-progressive.jpg"] {
        assert_eq!(read(name).notes(), ["gray shown as colour"], "{name}");
    }
    let said = |name: &str, note: &str| {
        let image = read(name);
        assert!(image.notes().iter().any(|found| found.contains(note)), "{name}: {:?}", image.notes());
    };
    said("exif.jpg", "turned upright");
    said("animation.png", "the first of its 3 frames was taken");
    said("animation-hidden.png", "its still image was taken");
    for name in ["rgb.png", "rgba.png", "palette.png", "interlaced.png"] {
        assert!(far(&read(name), &read("rgb.png")) < 30.0, "{name}");
    }
    for name in ["gray.png", "gray-alpha.png", "bits-1.png", "bits-16.png"] {
        said(name, "gray shown as colour");
    }
}

#[test]
fn cut_images_are_refused_wherever_they_were_cut() {
    for entry in fs::read_dir(repository("crates/foreign/tests/images")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let whole = fs::read(&path).expect("a file");
        // Past the signature, without which it is no image at all.
        let parts = [5, 20, 50, 90, 99].map(|percent| (whole.len() * percent / 100).max(12));
        for length in parts.into_iter().chain([1, 2, 3].map(|less| whole.len() - less)) {
            let refused = Image::decode(&whole[..length], &input(3, 40, 52)).expect_err("a part").to_string();
            assert!(
                refused.contains("ends early") || refused.contains("cannot be decoded"),
                "{}: {refused}",
                path.display()
            );
        }
    }
    let mut changed = fs::read(repository("crates/foreign/tests/images/rgb.png")).expect("a file");
    changed[100] ^= 1;
    let refused = Image::decode(&changed, &input(3, 40, 52)).expect_err("damaged").to_string();
    assert!(refused.contains("does not match its checksum"), "{refused}");
}

#[test]
fn gray_alpha_and_depth_are_turned_into_what_the_network_takes() {
    let gray = image::GrayImage::from_pixel(4, 4, Luma([77]));
    let read = Image::decode(&file(gray.clone(), ImageFormat::Png), &input(3, 4, 4)).expect("an image");
    assert_eq!((read.rgb(1, 1), read.notes()), ([77; 3], &["gray shown as colour".to_string()][..]));
    let read = Image::decode(&file(gray, ImageFormat::Jpeg), &input(1, 4, 4)).expect("an image");
    assert_eq!((read.bytes().len(), read.notes().len()), (16, 0));

    let red = image::RgbaImage::from_pixel(4, 4, Rgba([255, 0, 0, 0]));
    let read = Image::decode(&file(red, ImageFormat::Png), &input(3, 4, 4)).expect("an image");
    assert_eq!((read.rgb(0, 0), read.notes().len()), ([255; 3], 1));
    let half = image::GrayAlphaImage::from_pixel(4, 4, LumaA([0, 128]));
    let read = Image::decode(&file(half, ImageFormat::Png), &input(1, 4, 4)).expect("an image");
    assert!(read.bytes().iter().all(|v| v.abs_diff(127) <= 1), "{:?}", read.bytes());
    let opaque = image::RgbaImage::from_pixel(4, 4, Rgba([1, 2, 3, 255]));
    let read = Image::decode(&file(opaque, ImageFormat::Png), &input(3, 4, 4)).expect("an image");
    assert_eq!((read.rgb(0, 0), read.notes().len()), ([1, 2, 3], 0));

    let deep: image::ImageBuffer<Rgb<u16>, _> = image::ImageBuffer::from_pixel(4, 4, Rgb([65_535, 0, 32_768]));
    let read = Image::decode(&file(deep, ImageFormat::Png), &input(3, 4, 4)).expect("an image");
    assert_eq!(read.rgb(2, 2), [255, 0, 128]);
    let read = Image::decode(&file(image::RgbImage::new(4, 4), ImageFormat::Png), &input(1, 4, 4));
    assert_eq!(read.expect("an image").notes(), ["colours turned to gray"]);
}

#[test]
fn what_is_no_image_is_refused() {
    let square = input(3, 4, 4);
    let unknown: [(&[u8], Option<&str>); 5] = [
        (b"", Some("an empty file")),
        (b"GIF89a", Some("a GIF image")),
        (b"umbra", Some("a text file")),
        (b"PK\x03\x04", Some("a ZIP archive")),
        (&[0; 100], None),
    ];
    for (bytes, what) in unknown {
        let refused = Image::decode(bytes, &square);
        assert!(matches!(refused, Err(DecodeError::UnknownFormat { found, .. }) if found == what), "{refused:?}");
    }
    let good = file(image::RgbImage::from_pixel(9, 9, Rgb([1, 2, 3])), ImageFormat::Png);
    for length in 8..good.len() {
        let result = Image::decode(&good[..length], &square);
        assert!(matches!(result, Err(DecodeError::NotWhole { .. })), "{length}: {result:?}");
    }
    for position in 8..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x55;
        assert!(Image::decode(&bad, &square).is_err(), "{position}");
    }
    // A header that promises 2^31 pixels on a side.
    let mut bomb = good.clone();
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let crc = crc32(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    assert!(matches!(Image::decode(&bomb, &square), Err(DecodeError::TooLarge { .. })));
    // One that would take 768 MB.
    bomb[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    let crc = crc32(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    assert!(matches!(Image::decode(&bomb, &square), Err(DecodeError::TooLarge { .. })));
    assert_eq!(Image::decode(&good, &input(4, 4, 4)), Err(DecodeError::Channels { channels: 4 }));

    let error = Image::load(repository("Cargo.toml"), &square).expect_err("no image").to_string();
    assert!(error.contains("Cargo.toml: not a PNG or JPEG image"), "{error}");
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// `count` records whose bytes count up from their number.
fn records(labels: &[&[u8]]) -> Vec<u8> {
    let record = |(number, labels): (usize, &&[u8])| {
        let read = (0..3072).map(move |i| (number + i) as u8);
        labels.iter().copied().chain(read).collect::<Vec<u8>>()
    };
    labels.iter().enumerate().flat_map(record).collect()
}

#[test]
fn data_sets_are_read_in_their_official_formats() -> Result<(), ModelError> {
    let folder = tempfile::tempdir().expect("a folder");
    let ten = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&ten).expect("a folder");
    for batch in 1..=5u8 {
        fs::write(ten.join(format!("data_batch_{batch}.bin")), records(&[&[batch], &[9]])).expect("a file");
    }
    fs::write(ten.join("test_batch.bin"), records(&[&[3]])).expect("a file");
    for path in [folder.path(), &ten] {
        let train = Dataset::open(DatasetKind::Cifar10, path, Split::Train)?;
        let labels: Vec<usize> = train.iter().map(|(_, label)| label).collect();
        assert_eq!(labels, [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
        let test = Dataset::open(DatasetKind::Cifar10, path, Split::Test)?;
        assert_eq!((test.len(), test.label(0), test.label(1)), (1, Some(3), None));
        assert_eq!(test.image(0).map(|p| (p.len(), p[5])), Some((3072, 5)));
        assert_eq!(test.image(1), None);
    }
    let hundred = folder.path().join("test.bin");
    fs::write(&hundred, records(&[&[19, 99], &[0, 7]])).expect("a file");
    let test = Dataset::open(DatasetKind::Cifar100, &hundred, Split::Test)?;
    assert_eq!((test.label(0), test.label(1)), (Some(99), Some(7)));
    assert_eq!(test.image(1).map(|p| p[0]), Some(1));
    assert_eq!(DatasetKind::from_name("CIFAR-100"), Some(DatasetKind::Cifar100));

    let message = |kind, path: PathBuf| Dataset::open(kind, path, Split::Test).expect_err("no data set").to_string();
    let wrong = message(DatasetKind::Cifar10, hundred);
    assert!(wrong.contains("test.bin: 6148 bytes are not a whole number of CIFAR-10 records of 3073 bytes"), "{wrong}");
    fs::write(ten.join("test_batch.bin"), records(&[&[3], &[10]])).expect("a file");
    let wrong = message(DatasetKind::Cifar10, ten.clone());
    assert!(wrong.contains("record 1 has label 10, CIFAR-10 has labels below 10"), "{wrong}");
    let missing = message(DatasetKind::Cifar100, ten);
    assert!(missing.contains("test.bin: cannot read a file of a data set: No such file"), "{missing}");
    assert!(Dataset::decode(DatasetKind::Cifar10, &[]).is_err());
    Ok(())
}

#[test]
fn normalisations_follow_their_formulas() {
    let bytes: Vec<u8> = (0..24).map(|i| (i * 11) as u8).collect();
    let per_image = input(2, 3, 4).normalise(&bytes).expect("an image");
    let n = 24.0;
    let mean = per_image.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = per_image.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{mean} {variance}");
    // One colour: divided by the bound, not by zero.
    assert_eq!(input(1, 2, 2).normalise(&[9; 4]), Ok(vec![0.0; 4]));
    let fixed = Normalisation::PerChannel { mean: vec![0.0, 0.5], std: vec![1.0, 0.5] };
    let fixed = ImageSpec { normalisation: fixed, ..input(2, 1, 2) };
    assert_eq!(fixed.normalise(&[0, 255, 0, 255]), Ok(vec![0.0, 1.0, -1.0, 1.0]));
    assert!(fixed.normalise(&[0; 3]).is_err());
    let clipped = ImageSpec { clip: Some(0.5), ..fixed };
    assert_eq!(clipped.normalise(&[0, 255, 0, 255]), Ok(vec![0.0, 0.5, -0.5, 0.5]));
}
