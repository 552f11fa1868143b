//! Data sets in a cache of the hub, listed by a server on this machine.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use hf_hub::HFClient;
use image::{GrayImage, Luma, Rgb, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{labels, png};

/// The name of a data set, and the commit that the cache holds of it.
const ID: &str = "owner/digits";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The columns, as the hub writes them.
const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";
const NAMES: &str =
    r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;

fn grey(shade: u8) -> Vec<u8> {
    png(GrayImage::from_fn(3, 2, |x, _| Luma([shade + x as u8])))
}

/// A Parquet file of pictures and labels.
fn parquet(rows: &[(Vec<u8>, i64)], notes: Option<&str>) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let note = notes.map(|note| vec![KeyValue::new("huggingface".to_owned(), note.to_owned())]);
    let properties = WriterProperties::builder().set_key_value_metadata(note).build();
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let pictures: Vec<ByteArray> = rows.iter().map(|(bytes, _)| bytes.clone().into()).collect();
    let labels: Vec<i64> = rows.iter().map(|(_, label)| *label).collect();
    // Definition levels: a picture in its group, no path in it, a label.
    let levels = |level| vec![level; rows.len()];
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&pictures, Some(&levels(2)), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[], Some(&levels(1)), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&levels(1)), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

/// A client of a hub that lists `files` with the sizes given, and whose files are all in the cache at `cache`.
fn client(cache: &Path, files: &[(&str, Vec<u8>, u64)]) -> HFClientSync {
    let repository = cache.join("datasets--owner--digits");
    fs::create_dir_all(repository.join("refs/refs/convert")).unwrap();
    fs::write(repository.join("refs").join(REVISION), COMMIT).unwrap();
    for (path, bytes, _) in files {
        let path = repository.join("snapshots").join(COMMIT).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let siblings = files.iter().map(|(path, ..)| format!(r#"{{"rfilename": "{path}"}}"#));
    let siblings = siblings.collect::<Vec<_>>().join(",");
    let info = format!(r#"{{"id": "{ID}", "sha": "{COMMIT}", "siblings": [{siblings}]}}"#);
    let entry = |(path, _, size): &(&str, Vec<u8>, u64)| {
        format!(r#"{{"type": "file", "oid": "0", "size": {size}, "path": "{path}"}}"#)
    };
    let tree = format!("[{}]", files.iter().map(entry).collect::<Vec<_>>().join(","));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let body = if first.contains("/tree/") { &tree } else { &info };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    let client = HFClient::builder().endpoint(endpoint).cache_dir(cache).build().unwrap();
    HFClientSync::from_inner(client).unwrap()
}

/// Loads a data set of which `train` and `test` are the only files.
fn loaded(train: Vec<u8>, test: Vec<u8>) -> Result<Dataset, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let files = [("x/test/0000.parquet", test, 9), ("x/train/0000.parquet", train, 9)];
    load(&client(dir.path(), &files), ID)
}

/// Test images taken for training images, or labels of other pictures, would look like a data set all the same.
#[test]
fn pictures_labels_and_names_arrive() {
    let train = parquet(&[(grey(10), 1), (grey(20), 0), (grey(30), 1)], Some(NAMES));
    let test = parquet(&[(grey(40), 0)], Some(NAMES));
    let data = loaded(train.clone(), test.clone()).unwrap();
    assert_eq!(data.class_names, ["cat", "dog"]);
    assert_eq!(data.image_shape().unwrap(), (1, 2, 3), "grey pictures have one channel");
    assert_eq!(labels(&data.train), [1, 0, 1]);
    assert_eq!(data.train.picture(1).unwrap(), [20, 21, 22, 20, 21, 22]);
    assert_eq!(data.test.picture(0).unwrap(), [40, 41, 42, 40, 41, 42]);
    assert!(data.validation.is_none());
    assert_eq!(data.sha256, loaded(train.clone(), test).unwrap().sha256);
    let other = loaded(train, parquet(&[(grey(40), 1)], Some(NAMES))).unwrap();
    assert_ne!(data.sha256, other.sha256);
}

/// Rows and columns changed over would go unnoticed on square pictures, and did in the library's reader of CIFAR-10.
#[test]
fn colour_keeps_its_planes_and_its_sides() {
    let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, 10 + y as u8, 20]));
    let file = parquet(&[(png(picture), 0)], None);
    let data = loaded(file.clone(), file).unwrap();
    assert_eq!(data.class_names, ["0"], "without names they are numbers");
    assert_eq!(data.image_shape().unwrap(), (3, 2, 3));
    let planes = [[0, 1, 2, 0, 1, 2], [10, 10, 10, 11, 11, 11], [20; 6]];
    assert_eq!(data.train.picture(0).unwrap(), planes.concat());
}

/// A data set comes from strangers: each fault is an error that names the row, never a panic or a row left out.
#[test]
fn each_fault_is_named() {
    let fine = || parquet(&[(grey(1), 0)], Some(NAMES));
    let refused = |rows: &[(Vec<u8>, i64)]| {
        let text = loaded(parquet(rows, Some(NAMES)), fine()).unwrap_err().to_string();
        assert!(text.starts_with("owner/digits cannot be loaded"), "{text}");
        assert!(text.contains("row 1 of x/train/0000.parquet"), "{text}");
        text
    };
    let second = |bytes: Vec<u8>, label| refused(&[(grey(1), 0), (bytes, label)]);
    assert!(second(b"text".to_vec(), 0).contains("neither PNG nor JPEG"));
    assert!(second(grey(1)[..40].to_vec(), 0).contains("ends early"));
    assert!(second(png(GrayImage::new(4, 4)), 0).contains("4 x 4 pixels and others 2 x 3"));
    for label in [2, -1, i64::MAX] {
        assert!(second(grey(1), label).contains("label is not below 2"));
    }
    let cut = fine();
    let text = loaded(cut[..cut.len() / 2].to_vec(), fine()).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    let empty = || parquet(&[], Some(NAMES));
    for (train, test) in [(empty(), fine()), (fine(), empty()), (empty(), empty())] {
        let text = loaded(train, test).unwrap_err().to_string();
        assert!(text.contains("0 values") || text.contains("0 images"), "{text}");
    }
}

/// A label that stands for one class in one file and for another in the next would be learned wrongly.
#[test]
fn files_with_other_classes_are_refused() {
    let file = |names: &str| parquet(&[(grey(1), 0)], Some(names));
    let swapped = NAMES.replace(r#""cat", "dog""#, r#""dog", "cat""#);
    for other in [swapped, NAMES.replace("dog", "dog\", \"eel")] {
        let text = loaded(file(&other), file(NAMES)).unwrap_err().to_string();
        assert!(text.contains("x/train/0000.parquet has other classes"), "{text}");
    }
}

/// A data set may be larger than the disk, so it is refused before its files are downloaded.
#[test]
fn what_cannot_be_used_is_refused_before_it_is_downloaded() {
    let refused = |files: &[(&str, u64)]| {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = files.iter().map(|&(path, size)| (path, Vec::new(), size)).collect();
        load(&client(dir.path(), &files), ID).unwrap_err().to_string()
    };
    let halves = |size| [("x/test/0.parquet", 1), ("x/train/0.parquet", size)];
    assert!(refused(&halves(MAX_DOWNLOAD)).contains("more than 2 GiB"));
    assert!(refused(&halves(u64::MAX)).contains("more than 2 GiB"));
    assert!(refused(&[("x/train/0.parquet", 1)]).contains("no complete split test"));
    assert!(refused(&[("x/partial-train/0.parquet", 1)]).contains("no complete split train"));
    let two = [("x/test/0.parquet", 1), ("x/train/0.parquet", 1), ("y/train/0.parquet", 1)];
    assert!(refused(&two).contains("2 configurations"));
    assert!(refused(&[]).contains("no complete split"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Damage at any place of a file is an error or other pictures, never a panic.
    #[test]
    fn damaged_files_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = parquet(&[(grey(1), 1), (grey(2), 0)], Some(NAMES));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.parquet");
        fs::write(&path, bytes).unwrap();
        let _ = guarded(|| {
            let file = SerializedFileReader::new(File::open(path).unwrap());
            let file = file.map_err(|error| error.to_string())?;
            Images::default().read(Half::Train, "0.parquet", &file)
        });
    }
}
