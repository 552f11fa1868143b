//! PNG files written by hand, so that a test can write what no encoder would: a header that lies.

/// The value of every pixel of a picture.
#[derive(Clone, Copy)]
pub enum Pixel {
    Grey8(u8),
    Grey16(u16),
    Rgb8([u8; 3]),
    Rgb16([u16; 3]),
}

impl Pixel {
    /// Bits a channel, PNG's number for the kind of colour, and the bytes of a pixel.
    fn parts(self) -> (u8, u8, Vec<u8>) {
        match self {
            Self::Grey8(shade) => (8, 0, vec![shade]),
            Self::Grey16(shade) => (16, 0, shade.to_be_bytes().to_vec()),
            Self::Rgb8(shades) => (8, 2, shades.to_vec()),
            Self::Rgb16(shades) => (16, 2, shades.iter().flat_map(|s| s.to_be_bytes()).collect()),
        }
    }
}

/// A picture of one colour, `height` x `width` pixels.
pub fn png(height: u32, width: u32, pixel: Pixel) -> Vec<u8> {
    let (_, _, bytes) = pixel.parts();
    let mut row = vec![0];
    row.extend(bytes.repeat(width as usize));
    file((height, width), pixel, &row.repeat(height as usize))
}

/// A grey picture of 16 x 16 pixels with a spot of `ink` in the middle of its `ground`.
pub fn spot(ground: u8, ink: u8) -> Vec<u8> {
    let edge = [vec![0], vec![ground; 16]].concat();
    let middle = [vec![0], vec![ground; 4], vec![ink; 8], vec![ground; 4]].concat();
    let rows = [edge.repeat(4), middle.repeat(8), edge.repeat(4)].concat();
    file((16, 16), Pixel::Grey8(ink), &rows)
}

/// A header that promises `height` x `width` pixels, and a single row of one pixel.
pub fn lie(height: u32, width: u32) -> Vec<u8> {
    file((height, width), Pixel::Grey8(0), &[0, 0])
}

/// A picture of the kind of `pixel` whose `rows` each begin with the byte 0, for "no filter".
pub fn file((height, width): (u32, u32), pixel: Pixel, rows: &[u8]) -> Vec<u8> {
    let (depth, colour, _) = pixel.parts();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([depth, colour, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header), (b"IDAT", stored(rows)), (b"IEND", Vec::new())] {
        png.extend((data.len() as u32).to_be_bytes());
        let chunk = [&name[..], &data].concat();
        png.extend(&chunk);
        png.extend(crc(&chunk).to_be_bytes());
    }
    png
}

/// zlib without compression (RFC 1950 and 1951).
fn stored(data: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x78, 0x01];
    let mut blocks = data.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    packed.extend((b << 16 | a).to_be_bytes());
    packed
}

/// The CRC-32 of PNG.
fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}
