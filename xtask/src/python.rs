//! `cargo xtask test-python`: the Python package, and what Python's libraries make of the files of noprop.
//!
//! The package is put together here instead of by maturin, which would build candle once more for a package of its own. `NOPROP`,
//! `NOPROP_PY` and `NOPROP_ONNX_CASE` name a program, an extension module and the example `case` of noprop-onnx that are there already.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::venv;
use crate::workspace::{built, built_program, cargo, fresh_folder, root, run};

/// The folders with tests.
const TESTS: [&str; 2] = ["crates/noprop-py/tests", "xtask/python"];

/// Tests the package with pytest, in an environment among cargo's output.
pub fn run_tests() -> Result<()> {
    let root = root()?;
    let what = "NumPy, scikit-learn and what else the tests need";
    let python = venv::python(root, "python", "xtask/python/requirements.txt", what)?;
    let given = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        let path = path.map(|path| path.canonicalize());
        path.transpose().with_context(|| format!("{name} does not name a file"))
    };
    let names = ["NOPROP", "NOPROP_PY", "NOPROP_ONNX_CASE"];
    let [program, module, case] = names.map(given);
    let (program, module, case) = match (program?, module?, case?) {
        (Some(program), Some(module), Some(case)) => (program, module, case),
        (program, module, case) => {
            // In one call, so that all have the same candle.
            let build = "build -p noprop-cli -p noprop-py -p noprop-onnx --bins --lib --examples --features noprop-py/python";
            run(cargo(root, build).env("PYO3_BUILD_EXTENSION_MODULE", "1"))?;
            let library = format!("{DLL_PREFIX}_noprop{DLL_SUFFIX}");
            (
                program.unwrap_or_else(|| built_program(root, "noprop")),
                module.unwrap_or_else(|| built(root, &library)),
                case.unwrap_or_else(|| built_program(root, "examples/case")),
            )
        }
    };
    let package = package(root, &module)?;
    let mut pytest = Command::new(python);
    // The tests of a file share what they train.
    let side_by_side = ["--numprocesses", "auto", "--dist", "loadfile"];
    pytest.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"]);
    pytest.args(side_by_side).args(TESTS);
    pytest.current_dir(root).env("NOPROP", program).env("NOPROP_ONNX_CASE", case);
    pytest.env("PYTHONPATH", package);
    run(pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("MPLBACKEND", "agg"))
}

/// Puts the package together as a wheel has it, and returns the folder to import it from.
fn package(root: &Path, module: &Path) -> Result<PathBuf> {
    let folder = fresh_folder(root, "python-package", &[module])?;
    let package = folder.join("noprop");
    std::fs::create_dir(&package)?;
    for entry in std::fs::read_dir(root.join("crates/noprop-py/python/noprop"))? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            std::fs::copy(&path, package.join(name))?;
        }
    }
    let name = if cfg!(windows) { "_noprop.pyd" } else { "_noprop.abi3.so" };
    std::fs::copy(module, package.join(name)).with_context(|| module.display().to_string())?;
    Ok(folder)
}
