//! Unpacking and verifying, beside the place where the files will be.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tempfile::NamedTempFile;

use super::error::{Step, one_line};
use super::{Fault, FetchError};
use crate::catalogue::{Packing, RawFile};
use crate::digest::Hasher;

/// How the names of files begin that are not verified yet.
pub(super) const UNFINISHED: &str = ".unfinished-";
/// The largest that headers, padding and files we do not want may be in an archive.
const ARCHIVE_SLACK: u64 = 16 << 20;
const CHUNK: usize = 1 << 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A verified file that is not in its place yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staged(NamedTempFile);

impl Staged {
    pub(super) fn persist(self, path: &Path) -> Result<(), FetchError> {
        let persisted = self.0.persist(path);
        persisted.map_err(|failed| FetchError::disk(path, failed.error))?;
        Ok(())
    }
}

/// Makes renames in `folder` survive a power cut, where the system lets a folder be synced.
pub(super) fn sync(folder: &Path) -> Result<(), FetchError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|e| FetchError::disk(folder, e))?;
    }
    Ok(())
}

/// SHA-256 of a file.
pub(super) fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(chunk.get(..n).unwrap_or_default()),
        }
    }
}

/// Unpacks all of `files` from one packed file; in their order, all or none.
pub(super) fn parcel(
    packed: impl Read,
    packing: Packing,
    files: &[RawFile],
    folder: &Path,
) -> Result<Vec<Staged>, Step> {
    let packed = BufReader::with_capacity(CHUNK, packed);
    match packing {
        Packing::Gzip => {
            // Some servers unpack on the way, and say so only to those who ask.
            let mut start = Vec::new();
            let mut first = packed.take(GZIP_MAGIC.len() as u64);
            first.read_to_end(&mut start).map_err(damaged)?;
            let is_packed = start == GZIP_MAGIC;
            let whole = Cursor::new(start).chain(first.into_inner());
            let mut source: Box<dyn Read> =
                if is_packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
            let each = files.iter();
            each.map(|file| stage(&mut source, file, folder)).collect()
        }
        Packing::TarGz { folder: inner, .. } => archive(packed, inner, files, folder),
    }
}

/// Looks for `files` in `inner` of an archive. Nothing else is unpacked, and no name in the archive becomes a path.
fn archive(
    packed: impl Read,
    inner: &str,
    files: &[RawFile],
    folder: &Path,
) -> Result<Vec<Staged>, Step> {
    let wanted: u64 = files.iter().map(|file| file.bytes).sum();
    let bounded = MultiGzDecoder::new(packed).take(wanted + ARCHIVE_SLACK);
    let mut archive = tar::Archive::new(bounded);
    let mut found: Vec<Option<Staged>> = files.iter().map(|_| None).collect();
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
    let pairs = files.iter().zip(found);
    pairs
        .map(|(file, staged)| {
            let file = || file.name.to_owned();
            staged.ok_or_else(|| Fault::Incomplete { file: file() }.into())
        })
        .collect()
}

/// Copies to a temporary file in `folder`, held against size and hash, and synced.
pub(super) fn stage(mut source: impl Read, file: &RawFile, folder: &Path) -> Result<Staged, Step> {
    let disk = |e| FetchError::disk(folder, e);
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // tempfile makes files for their owner's eyes only; data is an ordinary file, and the process's umask takes
        // its share.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut target = builder.tempfile_in(folder).map_err(disk)?;
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
            return Err(Fault::Oversized { limit: file.bytes }.into());
        }
        let bytes = chunk.get(..n).unwrap_or_default();
        hasher.update(bytes);
        target.write_all(bytes).map_err(disk)?;
    }
    if got < file.bytes {
        return Err(Fault::Truncated { file: file.name.into(), got, expected: file.bytes }.into());
    }
    let hash = hasher.finish();
    if hash != file.sha256 {
        return Err(Fault::WrongHash {
            file: file.name.into(),
            got: hash,
            expected: file.sha256.into(),
        }
        .into());
    }
    target.as_file().sync_all().map_err(disk)?;
    Ok(Staged(target))
}

fn damaged(error: io::Error) -> Step {
    Fault::Damaged { reason: one_line(&error) }.into()
}
