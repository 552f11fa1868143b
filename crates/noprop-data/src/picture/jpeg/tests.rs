//! JPEG files of every kind, complete and cut: a missing part is noticed, and nothing panics.

use proptest::prelude::*;

use super::*;
use crate::picture::decode;

// Noise, of which every byte counts. The files were made with Pillow 13:
//
//     noise = [Image.effect_noise((40, 24), 90).rotate(turn) for turn in (0, 90, 180)]
//     colour = Image.merge("RGB", noise)
//     colour.save("plain.jpg", quality=60, subsampling=2)
//     colour.crop((0, 0, 19, 13)).save("fine.jpg", quality=100, subsampling=0)
//     colour.save("restarts.jpg", quality=60, subsampling=1, restart_marker_blocks=2)
//     colour.save("progressive.jpg", quality=60, subsampling=2, progressive=True)
//     noise[0].save("progressive-grey.jpg", quality=60, progressive=True, restart_marker_blocks=3)
const PLAIN: &[u8] = include_bytes!("../../../tests/pictures/plain.jpg");
const FINE: &[u8] = include_bytes!("../../../tests/pictures/fine.jpg");
const RESTARTS: &[u8] = include_bytes!("../../../tests/pictures/restarts.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../../../tests/pictures/progressive.jpg");
const PROGRESSIVE_GREY: &[u8] = include_bytes!("../../../tests/pictures/progressive-grey.jpg");
// Four squares of 16 x 16 pixels: red, green, blue and grey. Pillow writes the inverse of CMYK, as Photoshop does. For the
// second its planes were made YCCK, and the last byte of the segment that begins with "Adobe" 2.
const CMYK: &[u8] = include_bytes!("../../../tests/pictures/cmyk.jpg");
const YCCK: &[u8] = include_bytes!("../../../tests/pictures/ycck.jpg");

const FILES: [&[u8]; 7] = [PLAIN, FINE, RESTARTS, PROGRESSIVE, PROGRESSIVE_GREY, CMYK, YCCK];

/// `file` with `bytes` in the place of those from `at` on, `removed` of them.
fn spliced(file: &[u8], at: usize, removed: usize, bytes: &[u8]) -> Vec<u8> {
    [&file[..at], bytes, &file[at + removed..]].concat()
}

/// The place of the first marker of a kind.
fn marker(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|bytes| bytes == [0xFF, marker]).unwrap()
}

/// A camera's note with a thumbnail, which is a JPEG with an end of its own.
fn with_thumbnail(file: &[u8]) -> Vec<u8> {
    let note = [b"Exif\0\0", FINE].concat();
    let length = (note.len() as u16 + 2).to_be_bytes();
    spliced(file, 2, 0, &[&[0xFF, 0xE1], &length[..], &note].concat())
}

/// The files as they come from cameras and phones, and the number of bytes up to the end of the picture.
fn whole_files() -> Vec<(Vec<u8>, usize)> {
    let mut files: Vec<_> = FILES.iter().map(|file| (file.to_vec(), file.len())).collect();
    for file in [PLAIN, PROGRESSIVE] {
        let file = with_thumbnail(file);
        let length = file.len();
        // A second picture, and bytes that are none.
        files.push(([&file, PLAIN, &[0xFF, 0xD8, 0, 0]].concat(), length));
    }
    files
}

/// A camera may write more than the picture, and its thumbnail has an end of its own.
#[test]
fn a_whole_picture_is_taken_whatever_else_is_in_the_file() {
    for file in FILES {
        let pixels = decode(file).unwrap();
        let end = file.len() - 2;
        for changed in [
            with_thumbnail(file),
            spliced(file, end, 0, b"surplus bytes"),
            spliced(file, end, 0, &[0xFF; 5]),
            spliced(file, marker(file, 0xC4), 0, &[0xFF; 5]),
            [file, PLAIN].concat(),
        ] {
            assert_eq!(decode(&changed).unwrap(), pixels);
        }
    }
    let filled = spliced(RESTARTS, marker(RESTARTS, 0xD1), 0, &[0xFF, 0xFF]);
    assert_eq!(decode(&filled).unwrap(), decode(RESTARTS).unwrap());
}

/// The decoder makes the rest grey and reports nothing: a class would be given to half a picture.
#[test]
fn a_picture_that_ends_anywhere_is_refused() {
    for (file, length) in whole_files() {
        check(&file).unwrap();
        for at in 0..length {
            let cut = &file[..at];
            assert_eq!(check(cut), Err(PictureFault::EndsEarly), "{at} of {length}");
            // The length of the whole, as a copy that broke off may have.
            let zeros = [cut, &vec![0; file.len() - at]].concat();
            assert!(check(&zeros).is_err(), "zeros from {at} of {length}");
            // The end of a picture after a part of it. Without its own end the file would be whole again.
            let ended = [cut, &[0xFF, 0xD9]].concat();
            assert_eq!(check(&ended).is_err(), at + 2 < length, "ended at {at} of {length}");
        }
    }
}

/// A piece that was lost between two restarts would shift the rest of the picture.
#[test]
fn a_picture_that_lacks_a_part_between_two_markers_is_refused() {
    let (from, to) = (marker(RESTARTS, 0xD1), marker(RESTARTS, 0xD2));
    let without = spliced(RESTARTS, from, to - from, &[]);
    assert_eq!(check(&without), Err(PictureFault::EndsEarly));
    let shorter = spliced(RESTARTS, to - 9, 9, &[]);
    assert_eq!(check(&shorter), Err(PictureFault::EndsEarly));
}

/// The decoder cannot read them, or would read them wrongly.
#[test]
fn rare_kinds_are_named() {
    let kind = |file: &[u8]| match check(file) {
        Err(PictureFault::Unsupported(kind)) => kind,
        other => panic!("{other:?}"),
    };
    let size = marker(PLAIN, 0xC0);
    assert_eq!(kind(&spliced(PLAIN, size + 1, 1, &[0xC9])), "with arithmetic codes");
    assert_eq!(kind(&spliced(PLAIN, size + 1, 1, &[0xC3])), "lossless");
    assert_eq!(kind(&spliced(PLAIN, size + 4, 1, &[12])), "with more than 8 bits a channel");
    let finer = kind(&spliced(FINE, size + 14, 1, &[0x22]));
    assert!(finer.contains("finer"), "{finer}");
    let apart = [0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0];
    let apart = kind(&spliced(PLAIN, marker(PLAIN, 0xDA), 14, &apart));
    assert!(apart.contains("one after another"), "{apart}");
}

/// Without its tables no code can be counted, and the decoder makes the picture grey. Frames of films leave them out.
#[test]
fn a_picture_without_its_tables_is_refused() {
    for file in FILES {
        let at = marker(file, 0xC4);
        let length = 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        let without = spliced(file, at, length, &[]);
        let refused = PictureFault::Unsupported("without its tables of codes");
        assert_eq!(check(&without), Err(refused));
    }
}

/// A file of a few bytes a scan would take hours.
#[test]
fn the_number_of_scans_is_bounded() {
    let scan = marker(PROGRESSIVE_GREY, 0xDA);
    let end = scan + 10 + marker(&PROGRESSIVE_GREY[scan + 10..], 0xC4);
    let many = PROGRESSIVE_GREY[scan..end].repeat(200);
    let text = check(&spliced(PROGRESSIVE_GREY, scan, 0, &many)).unwrap_err().to_string();
    assert!(text.contains("too many scans"), "{text}");
}

/// Inks are stored inverted: a photograph for print would come out as its negative.
#[test]
fn inks_become_the_colours_that_a_viewer_shows() {
    for file in [CMYK, YCCK] {
        let picture = decode(file).unwrap();
        for (x, y, shades) in [
            (4, 4, [200, 30, 20]),
            (20, 4, [20, 160, 40]),
            (4, 20, [30, 40, 190]),
            (20, 20, [128, 128, 128]),
        ] {
            let pixel = picture.get_pixel(x, y).0;
            assert!(pixel.iter().zip(shades).all(|(a, b)| a.abs_diff(b) <= 4), "{pixel:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Damage at any place is an error or another picture, never a panic.
    #[test]
    fn damaged_files_never_panic(
        file in prop::sample::select(&FILES[..]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut file = file.to_vec();
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = decode(&file);
    }
}
