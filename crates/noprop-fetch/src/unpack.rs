//! Unpacking and verifying files in the folder where they will be.

use std::io::{self, BufReader, Cursor, ErrorKind, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use noprop_files::{Hasher, Packing, RawFile, Unfinished};

use crate::error::{Failure, Fault, FetchError, one_line};

/// Bytes that headers, padding and other files may take in an archive.
const ARCHIVE_SLACK: u64 = 16 << 20;
const CHUNK: usize = 1 << 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Unpacks and verifies all of `files`, in their order, from one packed file.
pub(crate) fn parcel(
    packed: impl Read,
    packing: Packing,
    files: &[RawFile],
    folder: &Path,
) -> Result<Vec<Unfinished>, Failure> {
    let packed = BufReader::with_capacity(CHUNK, packed);
    match packing {
        Packing::Gzip => {
            // Some servers unpack a file on the way. Its first bytes tell whether this one did.
            let mut start = Vec::new();
            let mut first = packed.take(GZIP_MAGIC.len() as u64);
            first.read_to_end(&mut start).map_err(damaged)?;
            let is_packed = start == GZIP_MAGIC;
            let whole = Cursor::new(start).chain(first.into_inner());
            let mut source: Box<dyn Read> =
                if is_packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
            files.iter().map(|file| stage(&mut source, file, folder)).collect()
        }
        Packing::TarGz { folder: inner, .. } => archive(packed, inner, files, folder),
    }
}

/// Unpacks `files` from the folder `inner` of an archive. Nothing else is unpacked, and no name in the archive becomes a path.
fn archive(
    packed: impl Read,
    inner: &str,
    files: &[RawFile],
    folder: &Path,
) -> Result<Vec<Unfinished>, Failure> {
    let wanted: u64 = files.iter().map(|file| file.bytes).sum();
    let bounded = MultiGzDecoder::new(packed).take(wanted + ARCHIVE_SLACK);
    let mut archive = tar::Archive::new(bounded);
    let mut found: Vec<Option<Unfinished>> = files.iter().map(|_| None).collect();
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(damaged)?.into_owned();
        let place = files
            .iter()
            .zip(&mut found)
            .find(|(file, slot)| slot.is_none() && path == Path::new(inner).join(file.name));
        if let Some((file, slot)) = place {
            *slot = Some(stage(entry, file, folder)?);
        }
    }
    let missing = |file: &RawFile| Failure::from(Fault::Incomplete(file.name.into()));
    let pairs = files.iter().zip(found);
    pairs.map(|(file, staged)| staged.ok_or_else(|| missing(file))).collect()
}

/// Copies `source` to a temporary file in `folder`, and compares its size and its hash with those of `file`.
pub(crate) fn stage(
    mut source: impl Read,
    file: &RawFile,
    folder: &Path,
) -> Result<Unfinished, Failure> {
    let disk = |e| FetchError::disk(folder, e);
    let mut target = Unfinished::create(folder).map_err(disk)?;
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK];
    let mut got = 0;
    loop {
        let n = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(damaged(e)),
        };
        got += n as u64;
        if got > file.bytes {
            return Err(Fault::Oversized(file.bytes).into());
        }
        let bytes = chunk.get(..n).unwrap_or_default();
        hasher.update(bytes);
        target.write_all(bytes).map_err(disk)?;
    }
    if got < file.bytes {
        return Err(Fault::Truncated { file: file.name.into(), got, expected: file.bytes }.into());
    }
    let got = hasher.finish();
    if got != file.sha256 {
        let (file, expected) = (file.name.into(), file.sha256.into());
        return Err(Fault::WrongHash { file, got, expected }.into());
    }
    Ok(target)
}

fn damaged(error: io::Error) -> Failure {
    Fault::Damaged(one_line(&error)).into()
}
