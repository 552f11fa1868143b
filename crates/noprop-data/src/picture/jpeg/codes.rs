//! The codes of a JPEG. Their lengths are read, and not their values.

/// Codes of at most this length are looked up in a table, the others are searched for. A larger table would take longer to
/// build than a small picture takes to read.
const SHORT: usize = 9;
const LONGEST: usize = 16;
/// The most symbols that a table can have.
const SYMBOLS: usize = 256;

/// A code, or 0 for none, packed into one number, which is faster than four fields.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Code(u32);

impl Code {
    /// The steps of a code that ends its block: more than a block has.
    pub const REST: usize = 128;

    fn new(length: usize, symbol: u8) -> Self {
        let (zeros, value) = (symbol >> 4, symbol & 15);
        let steps = if value == 0 && zeros < 15 { Self::REST as u8 } else { zeros + 1 };
        // `length` is at most 16.
        Self(u32::from_le_bytes([length as u8 + value, steps, length as u8, symbol]))
    }

    /// The length of the code and of the value behind it, in bits: at most 31.
    #[inline]
    pub fn bits(self) -> u8 {
        self.0 as u8
    }

    /// The number of coefficients that it stands for, or [`Self::REST`].
    #[inline]
    pub fn steps(self) -> usize {
        usize::from((self.0 >> 8) as u8)
    }

    /// The length of the code, in bits: at most 16.
    pub fn length(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// The number of zeros before its value, and the length of the value in bits.
    pub fn symbol(self) -> (u8, u8) {
        let symbol = (self.0 >> 24) as u8;
        (symbol >> 4, symbol & 15)
    }
}

/// A table of codes. Codes of equal length are consecutive numbers, and no code is the beginning of another.
pub(super) struct Table {
    /// The short codes, by the next [`SHORT`] bits.
    short: [Code; 1 << SHORT],
    /// The longer codes, rising, each after the lowest 16 bits that are above all that begin with it.
    long: Vec<(u32, Code)>,
}

impl Table {
    /// Builds a table from the number of codes of each length and from their symbols, in the order of the codes. Returns `None`
    /// if a length has more codes than its bits allow.
    pub fn new(counts: &[u8; LONGEST], symbols: &[u8]) -> Option<Self> {
        if symbols.len() > SYMBOLS {
            return None;
        }
        let mut table = Self { short: [Code::default(); 1 << SHORT], long: Vec::new() };
        let mut symbols = symbols.iter();
        let mut number = 0;
        for (length, &count) in (1..).zip(counts) {
            let count = usize::from(count);
            if number + count > 1 << length {
                return None;
            }
            for symbol in symbols.by_ref().take(count) {
                let code = Code::new(length, *symbol);
                if let Some(spare) = SHORT.checked_sub(length) {
                    table.short.get_mut(number << spare..(number + 1) << spare)?.fill(code);
                } else {
                    table.long.push((((number + 1) << (LONGEST - length)) as u32, code));
                }
                number += 1;
            }
            number <<= 1;
        }
        Some(table)
    }

    /// The code with which the bits begin, if there is one.
    #[inline]
    pub fn code(&self, bits: u64) -> Option<Code> {
        let code = self.short[(bits >> (64 - SHORT)) as usize];
        if code.0 > 0 { Some(code) } else { self.long(bits) }
    }

    fn long(&self, bits: u64) -> Option<Code> {
        let number = (bits >> (64 - LONGEST)) as u32;
        let at = self.long.partition_point(|&(end, _)| end <= number);
        self.long.get(at).map(|&(_, code)| code)
    }
}

/// A position in the codes. After the last byte all bits are 0.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The bytes that have been taken.
    at: usize,
    /// The bits of them that have not been skipped, from the highest on.
    held: u64,
    /// The number of these bits.
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0 }
    }

    /// The next bits, from the highest on; at least 32 of them are valid.
    #[inline]
    pub fn next(&mut self) -> u64 {
        if self.count < 32 {
            let word = match self.bytes.get(self.at..self.at + 4) {
                Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
                _ => last(self.bytes, self.at),
            };
            self.held |= u64::from(word) << (32 - self.count);
            self.count += 32;
            self.at += 4;
        }
        self.held
    }

    /// Skips some of the bits that [`Self::next`] returned.
    #[inline]
    pub fn skip(&mut self, bits: u8) {
        self.held <<= bits;
        self.count -= u32::from(bits);
    }

    /// Skips any number of bits.
    pub fn skip_far(&mut self, bits: usize) {
        self.next();
        if bits <= 32 {
            return self.skip(bits as u8);
        }
        let to = 8 * self.at - self.count as usize + bits;
        *self = Self { bytes: self.bytes, at: to / 8, held: 0, count: 0 };
        self.next();
        self.skip((to % 8) as u8);
    }

    /// Reads a number of at most 16 bits.
    pub fn number(&mut self, bits: u8) -> u64 {
        let number = self.next().checked_shr(64 - u32::from(bits)).unwrap_or(0);
        self.skip(bits);
        number
    }

    /// The number of bits up to the end, or `None` if the position is after it.
    #[inline]
    pub fn left(&self) -> Option<usize> {
        (8 * self.bytes.len() + self.count as usize).checked_sub(8 * self.at)
    }
}

/// Four bytes from a position on, with zeros after the last.
#[cold]
fn last(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.iter().skip(at).chain(&[0; 4]).take(4);
    bytes.fold(0, |word, &byte| word << 8 | u32::from(byte))
}
