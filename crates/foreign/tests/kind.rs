//! What files of others begin with, and what is said of them.

use umbra_foreign::Foreign;

fn what(start: &[u8], name: &str) -> &'static str {
    Foreign::of(start, name).map_or("", |found| found.what())
}

#[test]
fn models_data_sets_and_images_are_told_apart() {
    // The first bytes of files as their programs write them.
    let zip = |entry: &str| [&b"PK\x03\x04"[..], &[0; 22], &[entry.len() as u8, 0, 0, 0], entry.as_bytes()].concat();
    let tar = [&[b'c'; 257][..], b"ustar\x0000"].concat();
    let safetensors = [&90u64.to_le_bytes()[..], br#"{"conv.weight":{"dtype":"F32","shape":[1]"#].concat();
    let cases: [(&[u8], &str, &str); 31] = [
        (b"\x08\x07\x12\x07pytorch\x1a\x051.13", "net.onnx", "an ONNX model"),
        (b"\x08\x08\x3a\xc4\x02\x0a", "net", "an ONNX model"),
        (b"\x08\x01\x12\xfa\x10\x0a", "saved_model.pb", "a TensorFlow model"),
        (&zip("archive/data.pkl"), "net", "a PyTorch file"),
        (&zip("net/data.pkl"), "net.pth", "a PyTorch file"),
        (&zip("arr_0.npy"), "x.npz", "an archive of NumPy arrays"),
        (&zip("metadata.json"), "x.keras", "a Keras model"),
        (&zip("cat/1.png"), "x.zip", "a ZIP archive"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "net.pt", "a PyTorch file"),
        (b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15testing", "test_batch", "a batch of CIFAR as a Python pickle"),
        (b"\x80\x04\x95\x12\x00\x00\x00\x00\x00\x00\x00}\x94", "x", "a Python pickle"),
        (&safetensors, "w", "a safetensors file"),
        (b"\x89HDF\r\n\x1a\n\0\0", "model.h5", "an HDF5 file, as Keras writes it"),
        (b"\x1c\0\0\0TFL3\x14\0", "net", "a TensorFlow Lite model"),
        (b"\x93NUMPY\x01\0v\0{'descr'", "x.npy", "a NumPy array"),
        (b"\x1f\x8b\x08\0\0\0", "cifar-10-binary.tar.gz", "a gzip archive"),
        (&tar, "x.tar", "a tar archive"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "x", "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "x", "a JPEG image"),
        (b"GIF89a", "x", "a GIF image"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "x", "a WebP image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "x", "a HEIC image"),
        (b"BM\x36\x0c\0\0\0\0\0\0", "x", "a BMP image"),
        (b"\0\0\x08\x03\0\0\xea\x60", "train-images-idx3-ubyte", "a file of images as MNIST has them"),
        (b"version https://git-lfs.github.com/spec/v1", "x", "a Git LFS pointer, not the file itself"),
        (b"<!DOCTYPE html><html>", "net.onnx", "a web page"),
        (b"", "x", "an empty file"),
        (b"BMI of all\n", "x", "a text file"),
        ("R\u{e4}der, \u{3b1}".as_bytes(), "x", "a text file"),
        (&[0x00, 0x91, 0x17, 0xfe], "x", ""),
        (&[9, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0], "x", ""),
    ];
    for (start, name, expected) in cases {
        assert_eq!(what(start, name), expected, "{name}: {}", start.escape_ascii());
        // However few bytes there are.
        for length in 0..start.len() {
            let _ = Foreign::of(&start[..length], name);
        }
    }
}

#[test]
fn every_answer_has_a_remedy() {
    let found = |start: &[u8], name| Foreign::of(start, name).unwrap();
    assert!(found(b"\x08\x07\x12\x07pytorch", "").remedy_for_network().contains("export"));
    assert!(found(b"\x1f\x8b", "").remedy_for_data().contains("unpack"));
    assert!(found(b"\x89PNG\r\n\x1a\n", "").remedy_for_network().contains("encrypt"));
    assert!(found(b"\x80\x02}q", "").remedy_for_data().contains("binary version"));
    assert!(found(b"GIF89a", "").remedy_for_image().contains("convert"));
    assert!(found(b"", "").remedy_for_image().contains("copy it again"));
}
