//! Fetching from folders, and from a server on this machine that misbehaves in every known way.

mod server;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use server::{Request, send, send_file, send_part, serve};
use tempfile::TempDir;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not pack well, so that cuts fall inside the data.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

const TAR: Packing = Packing::TarGz { archive: "all.tar.gz", folder: "inner" };

fn job(
    dir: &Path,
    packing: Packing,
    files: &[(&'static str, &[u8])],
    sources: &[Mirror],
) -> Job<'static> {
    let files: Vec<_> = files
        .iter()
        .map(|&(name, bytes)| RawFile {
            name,
            bytes: bytes.len() as u64,
            sha256: Box::leak(sha256(bytes).into_boxed_str()),
        })
        .collect();
    let entry = Entry { files: Box::leak(files.into_boxed_slice()), packing, mirrors: &[] };
    Job {
        entry: Box::leak(Box::new(entry)),
        folder: dir.join("data/set"),
        sources: sources.to_vec(),
        client: client(None, Duration::from_secs(5)),
    }
}

/// A fetch of the file `a` as `a.gz`, from a server or from sources that a test chooses.
struct One {
    dir: TempDir,
    a: Vec<u8>,
    packed: Vec<u8>,
    job: Job<'static>,
    /// The ranges that the server was asked for.
    requests: Arc<Mutex<Vec<Option<usize>>>>,
}

impl One {
    /// From a server that answers with the packed file as `answer` does.
    fn served(
        length: usize,
        answer: impl Fn(&Request, &mut TcpStream, &[u8]) + Send + 'static,
    ) -> Self {
        let mut one = Self::from(length, &[]);
        let packed = one.packed.clone();
        let (server, requests) = serve(move |request, stream| answer(request, stream, &packed));
        one.job.sources = vec![server];
        Self { requests, ..one }
    }

    fn from(length: usize, sources: &[Mirror]) -> Self {
        let (dir, a) = (TempDir::new().unwrap(), noise(length));
        let job = job(dir.path(), Packing::Gzip, &[("a", &a)], sources);
        Self { packed: gzip(&a), requests: Arc::default(), dir, a, job }
    }

    /// The place of a partial download, in a folder that is there.
    fn part(&self) -> PathBuf {
        fs::create_dir_all(&self.job.folder).unwrap();
        self.job.part(&self.job.parcels()[0], &self.job.sources[0].to_string())
    }

    /// Fetches, and checks that the file is the only one and right.
    fn arrives(&self) {
        self.job.run(&mut |_| ()).unwrap();
        assert_eq!(listing(&self.job), ["a"]);
        assert!(fs::read(self.job.folder.join("a")).unwrap() == self.a);
    }

    fn requests(&self) -> Vec<Option<usize>> {
        self.requests.lock().unwrap().clone()
    }
}

/// The names of the files in the folder. An empty folder must not be there.
fn listing(job: &Job<'_>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(&job.folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.is_empty(), "an empty folder was left behind");
    names
}

/// The faults of all sources of a fetch that fails, in one line.
fn faults(job: &Job<'_>) -> Vec<Fault> {
    let error = job.run(&mut |_| ()).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    let FetchError::Exhausted { attempts, .. } = error else {
        panic!("{error}");
    };
    attempts.into_iter().map(|attempt| attempt.fault).collect()
}

/// The fault of the only source of a fetch that fails.
fn fault(job: &Job<'_>) -> Fault {
    let [fault] = <[Fault; 1]>::try_from(faults(job)).unwrap();
    fault
}

/// The plain case, on which all others are variations.
#[test]
fn files_arrive_whole_and_are_not_fetched_twice() {
    let dir = TempDir::new().unwrap();
    let (a, b) = (noise(300_000), noise(10));
    let (packed_a, packed_b) = (gzip(&a), gzip(&b));
    let (server, requests) = serve(move |request, stream| match request.path.as_str() {
        "/a.gz" => send_file(request, stream, &packed_a),
        "/b.gz" => send_file(request, stream, &packed_b),
        _ => send(stream, "404 Not Found", b""),
    });
    let job = job(dir.path(), Packing::Gzip, &[("a", &a), ("b", &b)], &[server]);
    let fetched = job.run(&mut |_| ()).unwrap();
    assert_eq!((fetched.new.len(), fetched.kept.len()), (2, 0));
    assert_eq!(listing(&job), ["a", "b"]);
    assert_eq!(fs::read(job.folder.join("a")).unwrap(), a);
    let again = job.run(&mut |_| ()).unwrap();
    assert_eq!((again.new.len(), again.kept.len()), (0, 2));
    assert_eq!(requests.lock().unwrap().len(), 2);
}

/// A slow line must not have to start again from the first byte.
#[test]
fn a_partial_file_is_continued() {
    let one = One::served(300_000, send_file);
    // All of it is the case of a kill between download and unpacking.
    for have in [100_000, one.packed.len()] {
        fs::write(one.part(), &one.packed[..have]).unwrap();
        one.arrives();
        assert_eq!(one.requests().pop(), Some(Some(have)));
        fs::remove_file(one.job.folder.join("a")).unwrap();
    }
    assert_eq!(one.requests().len(), 2);
}

/// A part may be the beginning of another file: joined to the rest it is wrong, and remains so on every retry.
#[test]
fn a_partial_file_that_does_not_fit_is_thrown_away() {
    let one = One::served(300_000, send_file);
    fs::write(one.part(), vec![0; 100_000]).unwrap();
    one.arrives();
    assert_eq!(one.requests(), [Some(100_000), None]);
}

/// A connection that breaks once must not end the fetch.
#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let one = One::served(300_000, |request, stream, packed| match request.nth {
        0 => send_part(stream, packed, None, 100_000),
        _ => send_file(request, stream, packed),
    });
    one.arrives();
    assert_eq!(one.requests(), [None, Some(100_000)]);
}

/// The bytes that have come must not be lost, even if no mirror answers any more.
#[test]
fn a_connection_that_stays_broken_leaves_what_came_for_the_next_time() {
    let one = One::served(300_000, |request, stream, packed| {
        send_part(stream, packed, request.from.map(|from| from.min(100_000)), 100_000);
    });
    assert_eq!(fault(&one.job), Fault::Broken(100_000));
    let left = listing(&one.job);
    assert!(left.len() == 1 && left[0].ends_with(".part"), "{left:?}");
}

/// A mirror that is gone, or has other bytes, must not end the fetch, and a user must learn of it.
#[test]
fn the_next_mirror_is_tried_and_reported() {
    let mut one = One::served(1000, send_file);
    let (missing, _) = serve(|_, stream| send(stream, "404 Not Found", b"<html>"));
    let (wrong, _) = serve(|request, stream| send_file(request, stream, &gzip(&[7; 1000])));
    one.job.sources.splice(0..0, [missing, wrong]);
    let mut log = Vec::new();
    one.job
        .run(&mut |event| {
            if let Event::Failed { fault, .. } = event {
                log.push(fault.to_string());
            }
        })
        .unwrap();
    assert_eq!(log[0], "the server answers 404");
    assert!(log[1].contains("a has the wrong SHA-256"), "{}", log[1]);
    assert_eq!(listing(&one.job), ["a"]);
}

/// Training on a page that a hotel network sent would look like training on MNIST.
#[test]
fn wrong_bytes_never_get_in_place() {
    let a = noise(1000);
    let mut other = a.clone();
    other[500] ^= 1;
    for (body, expected) in [
        (gzip(&other), "WrongHash"),
        (gzip(&a[..900]), "Truncated"),
        (gzip(&noise(1001)), "Oversized"),
        // 16 MiB in 16 KiB: stopped at 1,000 bytes.
        (gzip(&vec![0; 1 << 24]), "Oversized"),
        (gzip(&a)[..500].to_vec(), "Truncated"),
        (b"<html>Log in to this network</html>".to_vec(), "Truncated"),
        (gzip(&a)[..2].to_vec(), "Truncated"),
        (vec![0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], "Damaged"),
        (Vec::new(), "Truncated"),
    ] {
        let one = One::served(1000, move |request, stream, _| send_file(request, stream, &body));
        let fault = fault(&one.job);
        assert!(format!("{fault:?}").starts_with(expected), "{fault:?}");
        assert!(listing(&one.job).is_empty(), "{:?}", listing(&one.job));
    }
}

/// A server that never stops must not fill the disk.
#[test]
fn an_endless_answer_ends() {
    let endless = One::served(1000, |_, stream, _| {
        send(stream, "200 OK", b"");
        while stream.write_all(&[0; 4096]).is_ok() {}
    });
    let huge = One::served(1000, |_, stream, _| {
        send(stream, "200 OK\r\nContent-Length: 9999999999", b"x")
    });
    for one in [endless, huge] {
        assert!(matches!(fault(&one.job), Fault::Oversized(_)));
        assert!(listing(&one.job).is_empty());
    }
}

/// A server that never answers must not be waited for for ever.
#[test]
fn a_silent_server_and_no_server_are_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url =
        |listener: &TcpListener| Mirror::Url(format!("http://{}/", listener.local_addr().unwrap()));
    let gone = url(&TcpListener::bind("127.0.0.1:0").unwrap());
    let mut one = One::from(1000, &[url(&silent), gone]);
    one.job.client = client(None, Duration::from_millis(200));
    let faults = faults(&one.job);
    assert_eq!(faults[0], Fault::TimedOut);
    assert!(matches!(faults[1], Fault::Unreachable(_)), "{faults:?}");
    assert!(listing(&one.job).is_empty());
}

/// Another part of the file behind what we have would be a file of the right length with the wrong bytes.
#[test]
fn another_range_than_was_asked_for_is_refused() {
    let one = One::served(1000, |_, stream, _| {
        let head = "206 Partial Content\r\nContent-Length: 3\r\nContent-Range: bytes 7-9/10";
        send(stream, head, b"abc");
    });
    assert_eq!(fault(&one.job), Fault::WrongRange);
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for &(name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        // Written by hand: the builder would refuse a name that leaves the folder.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    }
    gzip(&builder.into_inner().unwrap())
}

/// An archive from a stranger must write nowhere but to the wanted files.
#[test]
fn an_archive_gives_up_the_wanted_files_and_no_others() {
    let dir = TempDir::new().unwrap();
    let (a, b) = (noise(100_000), noise(50));
    let files: [(&'static str, &[u8]); 2] = [("a.bin", &a), ("b.bin", &b)];
    let packed = tar(&[
        ("inner/readme.html", b"hello"),
        ("../../escaped", b"bad"),
        ("inner/b.bin", &b),
        ("inner/a.bin", &a),
    ]);
    let lacking = tar(&[("inner/a.bin", &a), ("elsewhere/b.bin", &b)]);
    let cut = packed[..packed.len() / 2].to_vec();

    for (body, expected) in [(lacking, "Incomplete"), (cut, "Truncated")] {
        let (server, _) = serve(move |request, stream| send_file(request, stream, &body));
        let job = job(dir.path(), TAR, &files, &[server]);
        let fault = fault(&job);
        assert!(format!("{fault:?}").starts_with(expected), "{fault:?}");
        assert!(listing(&job).is_empty(), "{:?}", listing(&job));
    }
    let (server, _) = serve(move |request, stream| send_file(request, stream, &packed));
    let job = job(dir.path(), TAR, &files, &[server]);
    job.run(&mut |_| ()).unwrap();
    assert_eq!(listing(&job), ["a.bin", "b.bin"]);
    assert_eq!(fs::read(job.folder.join("b.bin")).unwrap(), b);
    assert!(!dir.path().join("escaped").exists());
}

/// A machine without a network gets its files from a folder, however they are packed.
#[test]
fn a_folder_is_a_mirror_packed_or_not() {
    let dir = TempDir::new().unwrap();
    let (a, b) = (noise(1000), noise(10));
    let files: [(&'static str, &[u8]); 2] = [("a", &a), ("b", &b)];
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("inner")).unwrap();
    let mirror = [Mirror::Folder(source.clone())];
    let write = |name: &str, bytes: &[u8]| fs::write(source.join(name), bytes).unwrap();

    let job_1 = job(dir.path(), Packing::Gzip, &files, &mirror);
    assert_eq!(fault(&job_1), Fault::NotThere);
    write("a.gz", &gzip(&a));
    write("b", &b);
    job_1.run(&mut |_| ()).unwrap();
    assert_eq!(listing(&job_1), ["a", "b"]);

    let archive = [("all.tar.gz", tar(&[("inner/a", &a), ("inner/b", &b)]))];
    let inner = [("inner/a", a.clone()), ("inner/b", b.clone())];
    let plain = [("a", a.clone()), ("b", b.clone())];
    for files_there in [&archive[..], &inner, &plain] {
        fs::remove_dir_all(&source).unwrap();
        fs::remove_dir_all(&job_1.folder).unwrap();
        fs::create_dir_all(source.join("inner")).unwrap();
        files_there.iter().for_each(|(name, bytes)| write(name, bytes));
        let job = job(dir.path(), TAR, &files, &mirror);
        job.run(&mut |_| ()).unwrap();
        assert_eq!(listing(&job), ["a", "b"], "{:?}", files_there[0].0);
    }
    assert_eq!(fs::read(source.join("a")).unwrap(), a, "the source is left alone");

    let gone = [Mirror::Folder(dir.path().join("nowhere"))];
    let error = job(dir.path(), TAR, &files, &gone).run(&mut |_| ()).unwrap_err();
    assert!(matches!(error, FetchError::NoFolder { .. }) && error.is_bad_input());
}

/// A person's own file under the same name must not be lost.
#[test]
fn what_is_in_the_way_is_set_aside() {
    let one = One::served(1000, send_file);
    fs::create_dir_all(&one.job.folder).unwrap();
    fs::write(one.job.folder.join("a"), b"mine").unwrap();
    // Left by a fetch that was killed.
    fs::write(one.job.folder.join(".unfinished-x"), b"half").unwrap();
    one.job.run(&mut |_| ()).unwrap();
    assert_eq!(listing(&one.job), ["a", "a.unverified"]);
    // And again.
    fs::write(one.job.folder.join("a"), b"mine too").unwrap();
    one.job.run(&mut |_| ()).unwrap();
    assert_eq!(listing(&one.job), ["a", "a.unverified", "a.unverified-2"]);
    assert_eq!(fs::read(one.job.folder.join("a.unverified")).unwrap(), b"mine");
    assert_eq!(fs::read(one.job.folder.join("a.unverified-2")).unwrap(), b"mine too");
}

/// Two processes that append to one partial file would make rubbish of it.
#[test]
fn two_fetches_at_once_are_one_too_many() {
    let one = One::from(10, &[]);
    fs::create_dir_all(&one.job.folder).unwrap();
    let _held = lock(&one.job.folder).unwrap();
    let error = one.job.run(&mut |_| ()).unwrap_err();
    assert!(matches!(error, FetchError::Busy { .. }), "{error}");
}

/// What has come so far takes the room that is missing.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_and_leaves_nothing() {
    let one = One::served(1000, send_file);
    // The system's own full disk.
    std::os::unix::fs::symlink("/dev/full", one.part()).unwrap();
    let error = one.job.run(&mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    assert!(listing(&one.job).is_empty(), "{:?}", listing(&one.job));
}

/// The error must name the place, because the user chose it.
#[test]
fn a_place_that_cannot_be_written_to_is_reported() {
    let one = One::from(10, &[]);
    fs::write(one.dir.path().join("data"), b"a file").unwrap();
    let error = one.job.run(&mut |_| ()).unwrap_err().to_string();
    assert!(error.starts_with("cannot write "), "{error}");
}

/// There are no files to fetch for it, which is the user's error rather than the network's.
#[test]
fn the_bundled_sample_needs_no_fetching() {
    let error = fetch(DatasetName::MnistSample, Path::new("x"), None, &mut |_| ()).unwrap_err();
    assert!(error.is_bad_input());
    assert!(error.to_string().contains("comes with the program"));
}

/// A bar that is fed wrong numbers is worse than none.
#[test]
fn progress_adds_up() {
    let one = One::served(300_000, send_file);
    let (mut sum, mut size) = (0, None);
    one.job
        .run(&mut |event| match event {
            Event::Begin { done, total, .. } => (sum, size) = (done, total),
            Event::Advance { bytes } => sum += bytes,
            _ => {}
        })
        .unwrap();
    let length = one.packed.len() as u64;
    assert_eq!((sum, size), (length, Some(length)));
}

/// A reader that gives one byte at a time, as a slow line may.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = buffer.len().min(1);
        self.0.read(&mut buffer[..n])
    }
}

/// The choice between packed and not must not depend on how the bytes arrive.
#[test]
fn one_byte_at_a_time_is_enough() {
    let one = One::from(1000, &[]);
    for bytes in [&one.packed, &one.a] {
        let files = one.job.entry.files;
        let staged = unpack::parcel(Slow(bytes), Packing::Gzip, files, one.dir.path()).unwrap();
        assert_eq!(staged.len(), 1);
    }
}
