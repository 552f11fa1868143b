//! `model.safetensors`: written atomically, and checked when it is read.
//!
//! Weights may come from untrusted sources. The file is read only up to a bound, the safetensors crate checks its header, every
//! tensor must be f32 or f16 and finite, and tensors that the network does not have are refused. No size in the file is trusted before
//! the bytes are there.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use noprop_files::{open_file, write_atomically};
use noprop_method::Parameters;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

/// The size of the largest file that is read, in bytes. A thousand of the paper's blocks take less.
const MAX_BYTES: u64 = 16 << 30;
/// The size of the largest header that is read, in bytes. Names and shapes of a network's tensors take a few kilobytes for each
/// block.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// An error of a weights file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be read.
    #[error("cannot read weights {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write weights {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file is too large for a weights file.
    #[error("{0} is not a weights file: it is larger than {MAX_BYTES} bytes")]
    TooLarge(PathBuf),
    /// The file is not a valid safetensors file.
    #[error("{path} is not a valid safetensors file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A tensor is neither f32 nor f16.
    #[error("{path}: tensor `{name}` holds {found}, weights are F32 or F16")]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The element type of the tensor.
        found: String,
    },
    /// A tensor holds NaN or infinity.
    #[error(
        "{path}: tensor `{name}` holds NaN or infinity, so these weights cannot classify anything"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The tensors do not fit the network.
    #[error("{path} does not fit this network: {reason}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The reason: the tensor that is missing, has the wrong shape, or is not in the network.
        reason: String,
    },
}

/// The only metadata key. Several keys would be written in the order of a randomly seeded hash map.
const METADATA_KEY: &str = "noprop";

/// Tensors by name, with the file's metadata.
#[derive(Debug, Clone, Default)]
pub struct StoredWeights {
    /// The tensors by full name, f32 and finite.
    pub tensors: BTreeMap<String, Tensor>,
    /// The text (JSON) that was written with the tensors, if any.
    pub metadata: Option<String>,
}

/// The element types that are read.
#[derive(Clone, Copy, PartialEq)]
enum Types {
    /// f32, and f16, which becomes f32.
    Any,
    /// f32 alone.
    Exact,
}

/// Reads weights onto the CPU, tensor by tensor. Half precision becomes f32.
///
/// # Errors
/// [`WeightsError`], which names the file and the fault. The memory in use never exceeds the size of the tensors in f32 by more than
/// that of one tensor.
pub fn read_weights(path: &Path) -> Result<StoredWeights, WeightsError> {
    read(path, Types::Any)
}

/// As [`read_weights`], for the state of a training: half precision is refused, because a training that goes on from rounded values would
/// not give the same bytes.
pub(crate) fn read_state(path: &Path) -> Result<StoredWeights, WeightsError> {
    read(path, Types::Exact)
}

fn read(path: &Path, types: Types) -> Result<StoredWeights, WeightsError> {
    let reading = |source| WeightsError::Read { path: path.into(), source };
    let file = open_file(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    if length > MAX_BYTES {
        return Err(WeightsError::TooLarge(path.into()));
    }
    decode(path, BufReader::new(file), length, types)
}

/// As [`read_weights`], for the bytes of a file. Errors call it `name`.
///
/// # Errors
/// As for [`read_weights`].
pub fn weights_of(name: &Path, bytes: &[u8]) -> Result<StoredWeights, WeightsError> {
    decode(name, bytes, bytes.len() as u64, Types::Any)
}

/// Reads a file of `length` bytes. The length limits every size in the header.
fn decode(
    path: &Path,
    mut file: impl Read,
    length: u64,
    types: Types,
) -> Result<StoredWeights, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let short = |_| malformed("it ends too early".into());
    let mut word = [0; 8];
    file.read_exact(&mut word).map_err(short)?;
    let header_length = u64::from_le_bytes(word);
    let data_length = length.saturating_sub(8).checked_sub(header_length);
    let Some(data_length) = data_length.filter(|_| header_length <= MAX_HEADER_BYTES) else {
        return Err(malformed(format!("its header claims {header_length} bytes")));
    };
    let mut header = Vec::new();
    file.by_ref().take(header_length).read_to_end(&mut header).map_err(short)?;
    // This checks that the tensors follow each other without gaps and have the sizes of their shapes.
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|error| malformed(error.to_string()))?;
    let described = header.tensors();
    let mut order: Vec<_> = described.iter().collect();
    order.sort_by_key(|(_, info)| info.data_offsets);
    let end = order.last().map_or(0, |(_, info)| info.data_offsets.1);
    if end as u64 != data_length {
        return Err(malformed(format!("its tensors take {end} bytes but {data_length} are there")));
    }
    let mut tensors = BTreeMap::new();
    for (name, info) in order {
        let read_values: fn(&[u8]) -> Vec<f32> = match info.dtype {
            Dtype::F32 => {
                |bytes| bytes.as_chunks().0.iter().map(|&le| f32::from_le_bytes(le)).collect()
            }
            Dtype::F16 if types == Types::Any => |bytes| {
                let halves = bytes.as_chunks().0.iter();
                halves.map(|&le| half::f16::from_le_bytes(le).to_f32()).collect()
            },
            _ => {
                return Err(WeightsError::WrongType {
                    path: path.into(),
                    name: name.clone(),
                    found: format!("{:?}", info.dtype),
                });
            }
        };
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes).map_err(short)?;
        let values = read_values(&bytes);
        if !values.iter().all(|value| value.is_finite()) {
            return Err(WeightsError::NotFinite { path: path.into(), name: name.clone() });
        }
        let tensor = Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu)
            .map_err(|error| malformed(format!("tensor `{name}`: {error}")))?;
        tensors.insert(name.clone(), tensor);
    }
    let metadata = header.metadata().as_ref().and_then(|texts| texts.get(METADATA_KEY).cloned());
    Ok(StoredWeights { tensors, metadata })
}

/// Writes tensors (f32) with metadata, atomically. The same tensors and metadata give the same bytes.
///
/// # Errors
/// [`WeightsError::Write`]. The old file is then unchanged.
pub fn write_weights(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &str,
) -> Result<(), WeightsError> {
    write_atomically(path, |file| encode(tensors, metadata, file))
        .map_err(|source| WeightsError::Write { path: path.into(), source })
}

/// As [`write_weights`], but returns the bytes of the file. Errors call it `name`.
///
/// # Errors
/// [`WeightsError::Write`] for tensors that are not f32.
pub fn weights_to_bytes(
    name: &Path,
    tensors: &[(String, Tensor)],
    metadata: &str,
) -> Result<Vec<u8>, WeightsError> {
    let mut bytes = Vec::new();
    encode(tensors, metadata, &mut bytes)
        .map_err(|source| WeightsError::Write { path: name.into(), source })?;
    Ok(bytes)
}

/// Writes the header and the tensors, in the order of their names. Tensors are written one by one, so the copies take no more memory
/// than the largest tensor.
fn encode(tensors: &[(String, Tensor)], metadata: &str, to: &mut dyn Write) -> io::Result<()> {
    let mut order: Vec<&(String, Tensor)> = tensors.iter().collect();
    order.sort_by(|(a, _), (b, _)| a.cmp(b));
    let header = header(&order, metadata).map_err(io::Error::other)?;
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for (_, tensor) in order {
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
        let bytes: Vec<u8> =
            values.map_err(io::Error::other)?.into_iter().flat_map(f32::to_le_bytes).collect();
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// Returns the JSON before the tensors, padded with spaces so that the tensors start at a multiple of eight bytes.
fn header(tensors: &[&(String, Tensor)], metadata: &str) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.elem_count() * size_of::<f32>();
        let shape = tensor.dims().to_vec();
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    });
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata.to_owned())]);
    let header =
        Metadata::new(Some(metadata), infos.collect()).map_err(|error| error.to_string())?;
    let mut header = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Writes all parameters, buffers included, to a safetensors file, by full name and atomically. The same values give the same
/// bytes.
///
/// # Errors
/// [`WeightsError::Write`]. An existing file is then unchanged.
pub fn save_weights(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    write_weights(path, &parameters.tensors(), "")
}

/// Sets all parameters, buffers included, to the tensors of a safetensors file, by full name. The parameters stay on their
/// device.
///
/// # Errors
/// [`WeightsError`], which names the file and the fault, for example [`WeightsError::Mismatch`] for a tensor that is missing,
/// has the wrong shape or is not a parameter. No parameter is changed then.
pub fn load_weights(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    let stored = read_weights(path)?;
    parameters
        .set(stored.tensors)
        .map_err(|error| WeightsError::Mismatch { path: path.into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;

    use super::*;

    fn encode(tensors: &[(String, Tensor)], metadata: &str) -> Vec<u8> {
        weights_to_bytes(Path::new("model.safetensors"), tensors, metadata).unwrap()
    }

    /// The safetensors crate itself writes the same bytes.
    #[test]
    fn the_bytes_are_those_of_the_safetensors_crate() {
        let values: Vec<u8> = (0..6u8).flat_map(|v| f32::from(v).to_le_bytes()).collect();
        let view = |shape| TensorView::new(Dtype::F32, shape, &values).unwrap();
        let views = [("b", view(vec![2, 3])), ("a", view(vec![6]))];
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), "{}".to_owned())]);
        assert_eq!(sample(), safetensors::serialize(views, Some(metadata)).unwrap());
    }

    fn sample() -> Vec<u8> {
        let tensor = Tensor::arange(0f32, 6., &Device::Cpu).unwrap();
        let tensors = [("b".to_owned(), tensor.reshape((2, 3)).unwrap()), ("a".to_owned(), tensor)];
        encode(&tensors, "{}")
    }

    fn read(bytes: &[u8]) -> Result<StoredWeights, WeightsError> {
        weights_of(Path::new("model.safetensors"), bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let stored = read(&sample()).unwrap();
        assert_eq!(stored.metadata.as_deref(), Some("{}"));
        assert_eq!(stored.tensors["b"].dims(), [2, 3]);
        assert_eq!(sample(), sample(), "the same weights must give the same bytes");
    }

    #[test]
    fn nan_and_other_types_are_refused() {
        let nan = Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap();
        let bytes = encode(&[("a".into(), nan)], "");
        assert!(matches!(read(&bytes), Err(WeightsError::NotFinite { .. })));
        let ints = vec![0u8; 8];
        let view = TensorView::new(Dtype::I64, vec![1], &ints).unwrap();
        let bytes = safetensors::serialize([("a", view)], None).unwrap();
        assert!(matches!(read(&bytes), Err(WeightsError::WrongType { .. })));
    }

    /// Half precision is read where weights classify, and refused where a training would go on from rounded values.
    #[test]
    fn half_precision_is_for_classification_alone() {
        let halves: Vec<u8> =
            [0.5f32, -2.0].map(half::f16::from_f32).map(|h| h.to_le_bytes()).concat();
        let view = TensorView::new(Dtype::F16, vec![2], &halves).unwrap();
        let bytes = safetensors::serialize([("a", view)], None).unwrap();
        assert_eq!(read(&bytes).unwrap().tensors["a"].to_vec1::<f32>().unwrap(), [0.5, -2.0]);
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(read_state(&path), Err(WeightsError::WrongType { .. })));
    }

    /// A header with sizes larger than the file must be refused.
    #[test]
    fn hostile_headers_are_refused() {
        for header in [
            r#"{"a":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1000000000000]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            "{}x",
            "",
        ] {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend([0; 8]);
            assert!(matches!(read(&bytes), Err(WeightsError::Malformed { .. })), "{header}");
        }
        let huge_header = u64::MAX.to_le_bytes();
        assert!(read(&huge_header).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn truncated_and_altered_files_never_panic(cut in 0usize..400, at in 0usize..400, value: u8) {
            let mut bytes = sample();
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(cut.min(length));
            if let Ok(stored) = read(&bytes) {
                let numbers: usize = stored.tensors.values().map(Tensor::elem_count).sum();
                prop_assert!(numbers * DType::F32.size_in_bytes() <= bytes.len());
            }
        }
    }
}
