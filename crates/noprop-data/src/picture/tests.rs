//! Pictures of every kind through the reader: whole ones arrive, others are refused with a reason.

use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{png, values};

fn open_bytes(
    bytes: &[u8],
    wanted: (usize, usize, usize),
    polarity: Polarity,
) -> Result<Vec<f32>, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture");
    fs::write(&path, bytes).unwrap();
    let tensor = open(&path, wanted, polarity)?;
    let (c, h, w) = wanted;
    assert_eq!(tensor.dims(), [1, c, h, w]);
    Ok(values(&tensor))
}

/// A PNG of a test image must give the tensor that the network was tested on, bit for bit.
#[test]
fn a_picture_of_the_right_size_arrives_unchanged() {
    let shade = |x: u32, y: u32| u8::try_from((x * 28 + y) % 256).unwrap();
    let picture = GrayImage::from_fn(28, 28, |x, y| Luma([shade(x, y)]));
    let expected: Vec<f32> = picture.iter().map(|&p| f32::from(p) / 255.0).collect();
    let bytes = png(picture);
    assert_eq!(open_bytes(&bytes, (1, 28, 28), Polarity::AsIs).unwrap(), expected);
    let inverted = open_bytes(&bytes, (1, 28, 28), Polarity::Inverted).unwrap();
    for (a, b) in inverted.iter().zip(&expected) {
        assert!((a + b - 1.0).abs() < 1e-6);
    }
}

/// Interleaved channels, or H and W changed over, would go unnoticed on square grey pictures.
#[test]
fn colour_comes_channel_by_channel_and_row_by_row() {
    let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([10 + x as u8, 20 + x as u8, 30 + x as u8]));
    let values = open_bytes(&png(picture), (3, 1, 2), Polarity::AsIs).unwrap();
    let expected = [10, 11, 20, 21, 30, 31].map(|p| p as f32 / 255.0);
    assert_eq!(values, expected);
}

/// Stretching a tall digit to a square would turn it into another shape; black bars round a scan would be ink.
#[test]
fn the_aspect_ratio_is_kept_and_the_ground_goes_on() {
    let paper = 200;
    let picture = GrayImage::from_fn(40, 120, |x, y| {
        let ink = (10..30).contains(&x) && (30..90).contains(&y);
        Luma([if ink { 0 } else { paper }])
    });
    let values = open_bytes(&png(picture), (1, 28, 28), Polarity::Inverted).unwrap();
    let ground = 1.0 - f32::from(paper) / 255.0;
    let row = |y: usize| &values[y * 28..][..28];
    assert!(row(0).iter().all(|v| (v - ground).abs() < 0.02), "{:?}", row(0));
    // 40 x 120 becomes 9 x 28, in the middle; its ink is half as wide.
    let ink = row(14).iter().filter(|&&v| v > 0.6).count();
    assert!((4..=5).contains(&ink), "{:?}", row(14));
    assert!((row(14)[0] - ground).abs() < 1e-6);
}

/// An editor's transparent ground is stored as black: without blending, the whole picture would be black.
#[test]
fn transparency_is_laid_over_white() {
    let picture = GrayAlphaImage::from_fn(4, 4, |x, _| LumaA([0, if x == 0 { 255 } else { 0 }]));
    let values = open_bytes(&png(picture), (1, 4, 4), Polarity::AsIs).unwrap();
    assert_eq!(values[..4], [0.0, 1.0, 1.0, 1.0]);
}

/// The reason why these bytes are refused.
fn refused(bytes: &[u8]) -> PictureFault {
    let error = open_bytes(bytes, (1, 28, 28), Polarity::AsIs).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    match error {
        DataError::Picture { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn sizes_are_checked_before_a_pixel_is_decoded() {
    let good = png(GrayImage::new(20, 20));
    // The header alone makes it 50,000 x 50,000; decoding it would want gigabytes.
    let bomb = with_size(&good, 50_000, 50_000);
    assert_eq!(refused(&bomb), PictureFault::TooLarge { width: 50_000, height: 50_000 });
    assert!(matches!(refused(&with_size(&good, 50_000, 1)), PictureFault::TooLarge { .. }));
    // A decoder would reserve memory for a row.
    let wide = with_size(&good, 2_000_000_000, 2_000_000_000);
    assert!(matches!(refused(&wide), PictureFault::TooLarge { .. }));
    assert!(matches!(
        refused(&with_size(&good, 0, 7)),
        PictureFault::Empty | PictureFault::Damaged(_)
    ));
    let error = open_bytes(&good, (2, 28, 28), Polarity::AsIs).unwrap_err();
    assert!(error.to_string().contains("2 x 28 x 28"), "{error}");
    let error = open_bytes(&good, (1, 0, 28), Polarity::AsIs).unwrap_err();
    assert!(error.to_string().contains("1 x 0 x 28"), "{error}");
}

/// Names lie: half of the files that are not taken are pictures of another format under the name of one that is.
#[test]
fn a_file_of_another_kind_is_named() {
    let jpeg_after_text = [b"HTTP/1.1 200 OK\r\n\r\n", &b"\xFF\xD8\xFF\xE0"[..]].concat();
    let raw = b"II*\0\x10\0\0\0CR\x02\0";
    for (bytes, words) in [
        (&b""[..], "it is empty"),
        (&[0; 999], "all its bytes are zero"),
        (b"GIF89a and so on", "but GIF,"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "but WebP,"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "but HEIC,"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "but AVIF,"),
        (b"BM\x99\0\0\0\0\0\0\0\x36\0", "but BMP,"),
        (b"BMW is the name of a firm", "but text"),
        (b"MM\0*\0\0\0\x08", "but TIFF or camera raw,"),
        (raw, "but camera raw,"),
        (b"8BPS\0\x01", "but Photoshop,"),
        (b"\0\0\x01\0\x01\0", "but ICO,"),
        (b"<?xml version=\"1.0\"?>\n<svg></svg>", "but SVG,"),
        (b"\xEF\xBB\xBF<!DOCTYPE html><html>404</html>", "a web page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04\x14", "a zip archive"),
        (b"\x1F\x8B\x08", "a gzip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "notes of macOS"),
        (b"\xFF\x0A\xFA", "but JPEG XL,"),
        (b"\0\0\0\x0CjP  \r\n\x87\n", "but JPEG 2000,"),
        (&jpeg_after_text, "a JPEG begins 19 bytes into it"),
        (b"caf\xC3\xA9", "but text"),
        (b"\x01\x02\x03\x80", "it is neither PNG nor JPEG; save it"),
    ] {
        let text = refused(bytes).to_string();
        assert!(text.starts_with("it is neither PNG nor JPEG"), "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// Opening a pipe waits for a writer that may never come, and a device may have no end.
#[cfg(unix)]
#[test]
fn only_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (pipe, socket) = (dir.path().join("pipe.png"), dir.path().join("socket.png"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let link = dir.path().join("link.png");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for (path, kind) in [
        (pipe.as_path(), "a named pipe"),
        (&link, "a named pipe"),
        (&socket, "a socket"),
        (Path::new("/dev/zero"), "a device"),
        (dir.path(), "a folder"),
    ] {
        let text = open(path, (1, 28, 28), Polarity::AsIs).unwrap_err().to_string();
        assert!(text.contains(kind), "{text}");
    }
}

/// A file that is cut at the limit would be another picture.
#[test]
fn a_file_above_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.png");
    // A hole, which takes no room.
    File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
    let text = open(&path, (1, 28, 28), Polarity::AsIs).unwrap_err().to_string();
    assert!(text.contains("513 MiB") && text.contains("512 MiB"), "{text}");
}

/// A part of a PNG, with its length and its checksum.
fn part(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [name, data].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn a_png_that_ends_anywhere_or_has_other_bytes_is_refused() {
    let good = png(GrayImage::from_fn(9, 9, |x, y| Luma([(x * y) as u8])));
    for at in 8..good.len() {
        assert_eq!(decode(&good[..at]), Err(PictureFault::EndsEarly), "{at}");
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(decode(&other).is_err(), "{at}");
    }
    // All parts are there, and the pixels are not.
    let data = 33..good.len() - 12;
    let (head, pixels) = (&good[..33], &good[data.start + 8..data.end - 4]);
    let less = part(b"IDAT", &pixels[..pixels.len() / 2]);
    assert!(decode(&[head, &less, &part(b"IEND", b"")].concat()).is_err());
    let again = [head, &part(b"IDAT", pixels), &part(b"IEND", b""), b"more"].concat();
    assert_eq!(decode(&again).unwrap(), decode(&good).unwrap());
}

/// Viewers that do not know animations show the first picture, which is an ordinary one.
#[test]
fn an_animation_is_its_first_picture() {
    let first = GrayImage::from_fn(9, 9, |x, y| Luma([(x * y) as u8]));
    let second = png(GrayImage::from_pixel(9, 9, Luma([255])));
    let (first, still) = (png(first.clone()), first);
    let end = first.len() - 12;
    let frame = |number: u8| {
        let mut control = vec![0, 0, 0, number, 0, 0, 0, 9, 0, 0, 0, 9];
        control.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 10, 0, 0]);
        part(b"fcTL", &control)
    };
    let pixels = [&[0, 0, 0, 2], &second[41..second.len() - 16]].concat();
    let animation = [
        &first[..33],
        &part(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
        &frame(0),
        &first[33..end],
        &frame(1),
        &part(b"fdAT", &pixels),
        &first[end..],
    ]
    .concat();
    assert_eq!(decode(&animation).unwrap(), DynamicImage::ImageLuma8(still).into_rgb8());
}

/// Twelve bits of a sensor, or the numbers of a mask, in a file of 16 bits a channel: with 8 bits they would all be black.
#[test]
fn sixteen_bits_of_which_the_upper_are_not_used_are_refused() {
    let deep = |highest: u16| {
        let shade = |x, y| Luma([if (x, y) == (1, 1) { highest } else { 0 }]);
        png(ImageBuffer::from_fn(4, 4, shade))
    };
    for highest in [1, 255, 4095] {
        assert_eq!(decode(&deep(highest)), Err(PictureFault::Dark(highest)));
    }
    // Opaque, which is not brightness.
    let with_alpha = ImageBuffer::from_pixel(4, 4, LumaA([4095u16, 65535]));
    assert_eq!(decode(&png(with_alpha)), Err(PictureFault::Dark(4095)));
    for highest in [0, 4096, 65535] {
        decode(&deep(highest)).unwrap();
    }
}

/// Laid over white, white ink on nothing is a blank sheet.
#[test]
fn a_picture_of_which_nothing_is_visible_is_refused() {
    let drawn = |ink: u8, opaque: u32| {
        png(GrayAlphaImage::from_fn(4, 4, |x, _| LumaA([ink, if x < opaque { 255 } else { 0 }])))
    };
    for (ink, opaque) in [(0, 0), (255, 0), (255, 2)] {
        assert_eq!(decode(&drawn(ink, opaque)), Err(PictureFault::Invisible));
    }
    // A blank sheet that is meant to be one.
    decode(&drawn(255, 4)).unwrap();
    decode(&png(GrayImage::from_pixel(4, 4, Luma([255])))).unwrap();
    decode(&drawn(0, 1)).unwrap();
}

/// A network of one channel must see the same bytes of a colour picture, by whichever reader.
#[test]
fn grey_is_the_luma_of_colour() {
    let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([(x * 40) as u8, (y * 90) as u8, 200]));
    let grey = fit(&picture, (1, 3, 5)).unwrap();
    assert_eq!(grey, DynamicImage::ImageRgb8(picture.clone()).into_luma8().into_raw());
    // The same three channels are that channel.
    let equal = DynamicImage::ImageLuma8(GrayImage::from_raw(5, 3, grey.clone()).unwrap());
    assert_eq!(fit(&equal.into_rgb8(), (1, 3, 5)).unwrap(), grey);
}

/// The shade that fills the sides of a picture, and by which `predict` notices ink of the wrong polarity.
#[test]
fn the_ground_is_the_shade_of_the_border() {
    // Ink in the middle and at one place of the border.
    let drawn = |paper: u8, ink: u8| {
        let shade = |at: usize| if (6..10).contains(&at) || at == 12 { ink } else { paper };
        (0..24).map(shade).collect::<Vec<_>>()
    };
    assert_eq!(ground(&drawn(250, 3), (1, 4, 6)), 250);
    assert_eq!(ground(&drawn(0, 255), (1, 4, 6)), 0);
    let colours = [drawn(30, 0), drawn(60, 0), drawn(120, 0)].concat();
    assert_eq!(ground(&colours, (3, 4, 6)), 70);
    assert_eq!(ground(&[], (1, 0, 0)), 0);
}

/// The same PNG with another size in its header (bytes 16..24, checksum at 29..33).
fn with_size(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png.to_vec();
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Damage at any place is an error or another picture, never a panic.
    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = png(RgbImage::from_pixel(9, 7, Rgb([1, 2, 3])));
        let at = at.index(bytes.len());
        bytes[at] = with;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = decode(&bytes);
    }

    #[test]
    fn every_size_fits(w in 1u32..60, h in 1u32..60, height in 1usize..40, width in 1usize..40) {
        let picture = RgbImage::from_pixel(w, h, Rgb([255, 255, 255]));
        let values = fit(&picture, (3, height, width)).unwrap();
        prop_assert_eq!(values.len(), 3 * height * width);
        prop_assert!(values.iter().all(|&v| v == 255));
    }
}
