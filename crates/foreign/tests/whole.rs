//! Image files that are whole, and every way in which they are not.

use std::path::{Path, PathBuf};

use umbra_foreign::{Fault, check_jpeg, check_png};

fn images(extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    assert!(found.len() >= 9);
    found.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// All of them have this size.
const SIZE: (u32, u32) = (52, 40);

fn check(file: &[u8]) -> Result<(), Fault> {
    match file.starts_with(&[0xff, 0xd8]) {
        true => check_jpeg(file, SIZE).map(drop),
        false => check_png(file).map(drop),
    }
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name)).unwrap()
}

#[test]
fn whole_files_of_every_kind_are_accepted() {
    for (path, file) in images("jpg") {
        let jpeg = check_jpeg(&file, SIZE).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        assert_eq!(jpeg, Some(Default::default()), "{}", path.display());
    }
    for (path, file) in images("png") {
        let png = check_png(&file).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let animation = path.to_string_lossy().contains("animation");
        assert_eq!(png.frames > 0, animation, "{}", path.display());
    }
}

#[test]
fn no_prefix_is_whole() {
    for (path, file) in images("jpg").into_iter().chain(images("png")) {
        for length in 2..file.len() {
            let fault = check(&file[..length]).expect_err("a prefix");
            assert!(matches!(fault, Fault::Ends { .. }), "{}, {length}: {fault}", path.display());
        }
    }
}

#[test]
fn files_that_were_cut_and_ended_are_not_whole() {
    for (path, file) in images("jpg") {
        // From where the first pixels are.
        let first = file.windows(2).position(|two| two == [0xff, 0xda]).unwrap() + 14;
        let ended = |length: usize| [&file[..length], &[0xff, 0xd9]].concat();
        for length in first..file.len() - 3 {
            let Ok(jpeg) = check_jpeg(&ended(length), SIZE) else { continue };
            // Passes that refine the image may be left out, between one and the next.
            let between = file[length - 1..=length].contains(&0xff);
            assert!(between && jpeg.is_some_and(|jpeg| jpeg.unrefined), "{}, {length}", path.display());
        }
    }
}

#[test]
fn every_flipped_bit_of_a_png_is_found() {
    for (path, file) in images("png") {
        for position in 0..file.len() {
            let mut bad = file.clone();
            bad[position] ^= 1 << (position % 8);
            assert!(check_png(&bad).is_err(), "{}, {position}", path.display());
        }
    }
}

/// JPEG has no checksums. Many a flipped bit gives another image that is as good; whatever cannot be is found.
#[test]
fn damaged_codes_and_markers_of_a_jpeg_are_found() {
    let restart = file("restart.jpg");
    let marker = restart.windows(2).position(|two| two == [0xff, 0xd1]).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>), word: &str| {
        let mut bad = restart.clone();
        change(&mut bad);
        let fault = check_jpeg(&bad, SIZE).expect_err(word);
        assert!(matches!(&fault, Fault::Damaged { what } if what.contains(word)), "{fault}");
    };
    refused(&|file| file[marker + 1] = 0xd3, "restart marker 1");
    refused(&|file| drop(file.drain(marker..marker + 2)), "");
    refused(&|file| drop(file.splice(marker..marker, [0x12, 0x34, 0x56])), "more data than pixels");
    refused(&|file| drop(file.drain(marker - 6..marker)), "too soon");
    let all: usize = images("jpg")
        .iter()
        .map(|(_, file)| {
            let changed = |position: usize| {
                let mut bad = file.clone();
                // A row of bytes, as a bad copy has.
                bad[position..(position + 16).min(file.len())].fill(0x5b);
                bad
            };
            (2..file.len()).step_by(9).filter(|&position| check_jpeg(&changed(position), SIZE).is_ok()).count()
        })
        .sum();
    let tried: usize = images("jpg").iter().map(|(_, file)| file.len() / 9).sum();
    assert!(all * 10 < tried * 4, "{all} of {tried} were accepted");
}

#[test]
fn what_comes_behind_an_image_is_not_its_own() {
    let jpeg = file("baseline.jpg");
    let with = |more: &[u8]| check_jpeg(&[&jpeg, more].concat(), SIZE).unwrap().unwrap();
    assert!(!with(b"\0\0\0notes of a camera").more_images);
    assert!(with(&jpeg).more_images && with(&[&[0; 40], &jpeg[..]].concat()).more_images);
    let png = file("rgb.png");
    assert_eq!(check_png(&[&png, &b"more"[..]].concat()), check_png(&png));
    // A size that another decoder does not see.
    assert!(matches!(check_jpeg(&jpeg, (52, 41)), Err(Fault::Damaged { .. })));
}

#[test]
fn frames_of_animations_are_counted() {
    let png = |name| check_png(&file(name)).unwrap();
    let (shown, hidden) = (png("animation.png"), png("animation-hidden.png"));
    assert_eq!((shown.frames, shown.still_is_first), (3, true));
    assert_eq!((hidden.frames > 0, hidden.still_is_first), (true, false));
}

/// Nothing panics, whatever is changed.
#[test]
fn changed_bytes_do_no_harm() {
    for (_, file) in images("jpg").into_iter().chain(images("png")) {
        for position in 0..file.len().min(900) {
            for value in [0, 0xff, file[position] ^ 0x10] {
                let mut bad = file.clone();
                bad[position] = value;
                let _ = check(&bad);
            }
        }
    }
}
