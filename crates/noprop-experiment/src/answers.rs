//! The file of answers of an evaluation: one line for each image, as CSV (RFC 4180, but lines end in a line feed).
//!
//! Columns: `picture`, the file of the image, or its number among the training or the test images of its data set, from 0; `truth`
//! and `answer`, two classes by name; then the probability of each class, headed by its name.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use noprop_train::{Evaluation, write_atomically};

use crate::error::{Context, Result, bail, ensure};
use crate::shell::shown_path;

/// The beginning of every such file.
const COLUMNS: &str = "picture,truth,answer,";

/// A path that answers can be written to.
pub struct AnswersFile<'a> {
    path: &'a Path,
}

impl<'a> AnswersFile<'a> {
    /// Refuses a path in a folder that does not exist, and a path where something else is: answers replace nothing but answers.
    pub fn new(path: &'a Path) -> Result<Self> {
        let name = shown_path(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        ensure!(
            folder.as_os_str().is_empty() || folder.is_dir(),
            "cannot write {name}: there is no folder {}",
            shown_path(folder)
        );
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => bail!("cannot write {name}: {error}"),
            Ok(there) => ensure!(
                there.is_file()
                    && begins_with_columns(path).with_context(|| format!("cannot read {name}"))?,
                "{name} exists and is not a file of answers: choose another file, or remove it"
            ),
        }
        Ok(Self { path })
    }

    /// Writes the answers of `test`, whose probabilities were kept. `picture` returns the name of an image, given its number.
    pub fn write(
        &self,
        classes: &[String],
        test: &Evaluation,
        picture: &dyn Fn(usize) -> String,
    ) -> Result<()> {
        write_atomically(self.path, |file| write_lines(file, classes, test, picture))
            .with_context(|| format!("cannot write {}", shown_path(self.path)))
    }
}

fn begins_with_columns(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(COLUMNS.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == COLUMNS.as_bytes())
}

fn write_lines(
    file: &mut dyn Write,
    classes: &[String],
    test: &Evaluation,
    picture: &dyn Fn(usize) -> String,
) -> io::Result<()> {
    let fields: Vec<_> = classes.iter().map(|class| field(class)).collect();
    writeln!(file, "{COLUMNS}{}", fields.join(","))?;
    let name = |class: &u32| fields.get(*class as usize).map_or("", AsRef::as_ref);
    let probabilities = test.probabilities.as_deref().unwrap_or_default();
    let rows = probabilities.chunks_exact(classes.len().max(1));
    for (number, (row, (truth, answer))) in
        rows.zip(test.truth.iter().zip(&test.predictions)).enumerate()
    {
        let picture = picture(number);
        write!(file, "{},{},{}", field(&picture), name(truth), name(answer))?;
        for probability in row {
            // As Debug prints it: 1e-20 rather than twenty zeros.
            write!(file, ",{probability:?}")?;
        }
        writeln!(file)?;
    }
    Ok(())
}

/// Returns the text as a field, in double quotes if it holds a character that separates fields or lines.
fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test() -> Evaluation {
        Evaluation {
            correct: 1,
            total: 2,
            per_block: Vec::new(),
            truth: vec![0, 1],
            predictions: vec![0, 0],
            probabilities: Some(vec![1.0, 1e-20, 0.75, 0.25]),
            confusion: vec![vec![1, 0], vec![1, 0]],
        }
    }

    /// A comma in a class's name must not move the columns behind it, and a probability must lose no digit.
    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let classes = ["a,b".to_owned(), "say \"hi\"\n".to_owned()];
        let mut file = Vec::new();
        let picture = |number| format!("{number},.png");
        write_lines(&mut file, &classes, &test(), &picture).unwrap();
        assert_eq!(
            String::from_utf8(file).unwrap(),
            "picture,truth,answer,\"a,b\",\"say \"\"hi\"\"\n\"\n\
             \"0,.png\",\"a,b\",\"a,b\",1.0,1e-20\n\
             \"1,.png\",\"say \"\"hi\"\"\n\",\"a,b\",0.75,0.25\n"
        );
    }

    /// An evaluation is repeated into the same file; nothing else may be lost by it.
    #[test]
    fn answers_replace_answers_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.csv");
        let classes = ["cat".to_owned(), "dog".to_owned()];
        for _ in 0..2 {
            let file = AnswersFile::new(&path).unwrap();
            file.write(&classes, &test(), &|number| number.to_string()).unwrap();
        }
        let refused = |path: &Path| AnswersFile::new(path).err().unwrap().to_string();
        for other in ["", "picture,truth\n", "name,truth,answer,cat\n"] {
            std::fs::write(&path, other).unwrap();
            assert!(refused(&path).contains("is not a file of answers"), "{other}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
        }
        assert!(refused(dir.path()).contains("is not a file of answers"));
        assert!(refused(&path.join("x.csv")).contains("there is no folder"));
        assert!(refused(&dir.path().join("no/x.csv")).contains("there is no folder"));
    }
}
