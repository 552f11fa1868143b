//! The folder of the page: its files, the module, and the trained model.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::workspace::{self, BadUsage, report};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "web";
/// Random numbers of the browser, and vectors of 128 bits, which every browser has had since 2023.
const FLAGS: &str = r#"--cfg getrandom_backend="wasm_js" -C target-feature=+simd128"#;
/// Debian's compiler, for a machine without rustup's target.
const DEBIAN: [&str; 2] = ["/usr/bin/rustc", "/usr/bin/cargo"];

/// Builds the page into `dir`, with the weights in `model`.
pub fn run(dir: &Path, model: &Path) -> Result<()> {
    let root = workspace::root()?;
    // The usual model is in the workspace, wherever the person is.
    let model = if model.is_file() { model.into() } else { root.join(model) };
    ensure!(
        model.is_file(),
        BadUsage(format!(
            "{} is not there: name the weights of a trained model with --model",
            model.display()
        ))
    );
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let is_empty = fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_none();
    ensure!(
        is_empty || dir.join("engine.json").is_file(),
        BadUsage(format!(
            "{} holds other files, which the page could replace: name an empty folder, or one that has the page",
            dir.display()
        ))
    );

    let module = compile(root)?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(&module).web(true)?.typescript(false).omit_default_module_path(false);
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen.generate(dir).context("wasm-bindgen")?;

    let page = root.join("crates/noprop-serve/page");
    for file in fs::read_dir(&page).with_context(|| page.display().to_string())? {
        let file = file?;
        fs::copy(file.path(), dir.join(file.file_name()))?;
    }
    fs::copy(&model, dir.join("model.safetensors"))?;
    fs::write(dir.join("engine.json"), "{\"engine\":\"wasm\"}\n")?;
    report(&format!(
        "{}: serve it with any static host, such as python3 -m http.server",
        dir.display()
    ));
    Ok(())
}

/// Compiles noprop-web, and returns the path of the module.
fn compile(root: &Path) -> Result<PathBuf> {
    let mut build = match compiler(root)? {
        Compiler::Rustup => workspace::cargo(root, "build"),
        Compiler::Debian => {
            let [rustc, cargo] = DEBIAN;
            let mut build = Command::new(cargo);
            // Its standard library for the target comes as source.
            build.args(["build", "-Zbuild-std=std,panic_abort"]).current_dir(root);
            build.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            build
        }
    };
    build.args(["--package", "noprop-web", "--profile", PROFILE, "--target", TARGET]);
    workspace::run(build.env("RUSTFLAGS", FLAGS))?;
    Ok(workspace::target(root).join(TARGET).join(PROFILE).join("noprop_web.wasm"))
}

enum Compiler {
    Rustup,
    Debian,
}

/// The compiler that is there: the workspace's own with rustup's target, else Debian's.
fn compiler(root: &Path) -> Result<Compiler> {
    let libraries = |rustc: &str| -> Option<PathBuf> {
        let mut print = Command::new(rustc);
        print.args(["--print", "target-libdir", "--target", TARGET]).current_dir(root);
        let path = String::from_utf8(workspace::output(&mut print).ok()?).ok()?;
        Some(path.trim().into())
    };
    if libraries("rustc").is_some_and(|path| path.is_dir()) {
        return Ok(Compiler::Rustup);
    }
    let [rustc, cargo] = DEBIAN;
    let source = || -> Option<PathBuf> {
        let mut print = Command::new(rustc);
        let root = workspace::output(print.args(["--print", "sysroot"])).ok()?;
        let root = PathBuf::from(String::from_utf8(root).ok()?.trim());
        Some(root.join("lib/rustlib/src/rust/library/std"))
    };
    if Path::new(cargo).is_file() && source().is_some_and(|path| path.is_dir()) {
        return Ok(Compiler::Debian);
    }
    bail!(
        "there is no compiler for {TARGET}: run `rustup target add {TARGET}`, or on Debian `apt-get install rustc-web cargo-web rust-web-src rust-web-llvm lld-22`"
    )
}
