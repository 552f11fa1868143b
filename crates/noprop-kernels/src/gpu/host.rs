//! The kernels on the host, for tests: a C compiler makes a library of them, in which the threads of a group are the system's.

use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{Result, bail};

use super::arguments::Arguments;
use super::sources::SOURCES;

/// Groups, their threads and the barrier between these, in C.
const HOST: [&str; 2] = [include_str!("kernels/host.c"), include_str!("kernels/run.c")];

type Run = unsafe extern "C" fn(kernel: *const c_void, arguments: *const c_void, groups: u32);

struct Library {
    library: libloading::Library,
}

/// Runs a kernel. One runs at a time: on the host, the memory that a group shares is a static variable.
#[expect(unsafe_code, reason = "the kernels are C")]
pub(super) fn launch<A: Arguments>(arguments: A, groups: u32) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    static LIBRARY: OnceLock<std::result::Result<Library, String>> = OnceLock::new();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match LIBRARY.get_or_init(compile) {
        Ok(library) => &library.library,
        Err(error) => bail!("{error}"),
    };
    let name = CString::new(A::KERNEL).map_err(candle_core::Error::wrap)?;
    // SAFETY: both are functions of the library that was just made of the sources beside this file. The addresses in `arguments`
    // are those of tensors that live until the launch is over, and no other code uses the memory that it writes meanwhile.
    unsafe {
        let run = library.get::<Run>(b"run\0").map_err(candle_core::Error::wrap)?;
        let kernel = library
            .get::<*const c_void>(name.as_bytes_with_nul())
            .map_err(candle_core::Error::wrap)?;
        run(*kernel, (&raw const arguments).cast(), groups);
    }
    Ok(())
}

fn compile() -> std::result::Result<Library, String> {
    let folder = std::env::temp_dir().join(format!("noprop-kernels-{}", std::process::id()));
    let library = compile_in(&folder);
    // A loaded library does not need its file any more.
    let _ = std::fs::remove_dir_all(&folder);
    library
}

#[expect(unsafe_code, reason = "loading a library runs its initialisers")]
fn compile_in(folder: &PathBuf) -> std::result::Result<Library, String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    std::fs::create_dir_all(folder).map_err(|error| failed("temporary folder", &error))?;
    let (source, library) = (folder.join("kernels.c"), folder.join("kernels.so"));
    std::fs::write(&source, [HOST[0], &SOURCES.concat(), HOST[1]].concat())
        .map_err(|error| failed("temporary file", &error))?;
    let done = Command::new("cc")
        .args(["-std=c11", "-O2", "-shared", "-fPIC", "-pthread", "-w", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-lm")
        .output()
        .map_err(|error| failed("cc", &error))?;
    if !done.status.success() {
        return Err(failed("cc", &String::from_utf8_lossy(&done.stderr)));
    }
    // SAFETY: the library was just made of our sources, and does nothing when it is loaded.
    let library = unsafe { libloading::Library::new(&library) };
    Ok(Library { library: library.map_err(|error| failed("loading", &error))? })
}
