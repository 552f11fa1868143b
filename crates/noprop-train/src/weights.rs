//! `model.safetensors`: written atomically, read with suspicion.
//!
//! Weights come from strangers. The file is read only up to a bound, its header is checked by the safetensors crate, every
//! tensor must be f32 and finite, and what the network did not ask for is refused. No size in the file is believed before
//! the bytes are there.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::write_atomically;

/// Files beyond this are not read: a thousand of the paper's blocks take less.
const MAX_BYTES: u64 = 16 << 30;

/// Why stored weights were refused.
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
    /// The file is larger than any weights.
    #[error("{path} is no weights file: it is larger than {MAX_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no valid safetensors file.
    #[error("{path} is no valid safetensors file: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is not f32.
    #[error("{path}: tensor `{name}` holds {found}, weights are F32")]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
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
        /// Which tensor is missing, misshapen or extra.
        reason: String,
    },
}

/// The one metadata key. Several keys would be written in the order of a randomly seeded hash map.
const METADATA_KEY: &str = "noprop";

/// Tensors by name, with the file's metadata.
#[derive(Debug, Clone, Default)]
pub struct StoredWeights {
    /// Tensors by full name, f32 and finite.
    pub tensors: BTreeMap<String, Tensor>,
    /// The text that was written with them (JSON), if any.
    pub metadata: Option<String>,
}

/// Reads weights onto the CPU.
///
/// # Errors
/// [`WeightsError`] naming the file and what is wrong with it. Memory never exceeds about twice the file's real size.
pub fn read_weights(path: &Path) -> Result<StoredWeights, WeightsError> {
    let bytes = read_bounded(path)?;
    decode(path, &bytes)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let reading = |source| WeightsError::Read { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(reading)?;
    // The size is a hint that sizes the buffer; `take` is the bound that holds.
    let size = file.metadata().map_err(reading)?.len();
    if size > MAX_BYTES {
        return Err(WeightsError::TooLarge { path: path.into() });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(reading)?;
    Ok(bytes)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<StoredWeights, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let (_, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| malformed(error.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| malformed(error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(WeightsError::WrongType {
                path: path.into(),
                name: name.into(),
                found: format!("{:?}", view.dtype()),
            });
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|&le| f32::from_le_bytes(le)).collect();
        if !values.iter().all(|value| value.is_finite()) {
            return Err(WeightsError::NotFinite { path: path.into(), name: name.into() });
        }
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)
            .map_err(|error| malformed(format!("tensor `{name}`: {error}")))?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(StoredWeights {
        tensors,
        metadata: header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(METADATA_KEY).cloned()),
    })
}

/// Writes tensors (f32) with metadata, atomically. The same tensors and metadata give the same bytes.
///
/// # Errors
/// [`WeightsError::Write`]; the old file is then untouched.
pub fn write_weights(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &str,
) -> Result<(), WeightsError> {
    let writing = |source| WeightsError::Write { path: path.into(), source };
    let bytes = encode(tensors, metadata).map_err(|error| writing(io::Error::other(error)))?;
    write_atomically(path, |file| file.write_all(&bytes)).map_err(writing)
}

fn encode(tensors: &[(String, Tensor)], metadata: &str) -> Result<Vec<u8>, String> {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let values: Vec<f32> = tensor
                .flatten_all()
                .and_then(|flat| flat.to_vec1())
                .map_err(|error| error.to_string())?;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            Ok((name.clone(), tensor.dims().to_vec(), bytes.collect()))
        })
        .collect::<Result<_, String>>()?;
    let views: Vec<(&str, TensorView<'_>)> = data
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            Ok((name.as_str(), view.map_err(|error| error.to_string())?))
        })
        .collect::<Result<_, String>>()?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata.to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        let tensor = Tensor::arange(0f32, 6., &Device::Cpu).unwrap();
        let tensors = [("b".to_owned(), tensor.reshape((2, 3)).unwrap()), ("a".to_owned(), tensor)];
        encode(&tensors, "{}").unwrap()
    }

    fn read(bytes: &[u8]) -> Result<StoredWeights, WeightsError> {
        decode(Path::new("model.safetensors"), bytes)
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
        let bytes = encode(&[("a".into(), nan)], "").unwrap();
        assert!(matches!(read(&bytes), Err(WeightsError::NotFinite { .. })));
        let ints = vec![0u8; 8];
        let view = TensorView::new(Dtype::I64, vec![1], &ints).unwrap();
        let bytes = safetensors::serialize([("a", view)], None).unwrap();
        assert!(matches!(read(&bytes), Err(WeightsError::WrongType { .. })));
    }

    /// A header that claims more than the file holds must not be believed.
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
