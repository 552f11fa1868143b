//! The documentation opened and compared with the code: names, paths, commands, flags, links, and the list of crates.
//!
//! A page that names a file, a test, a type or a flag that is gone sends its reader into the void. So everything in back quotes that looks
//! like such a name must exist.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that belong to other programs, to files of a run or of a data set, or to an example.
const FOREIGN: [&str; 12] = [
    // Files and folders of a run, which no checkout has.
    "README.md",
    "figures/",
    "answers/",
    "state/",
    "reproduced/table1.md",
    // Cargo, Slurm and Open MPI.
    "--allow-run-as-root",
    "--oversubscribe",
    "--mca",
    "--release",
    "--features",
    // Kubernetes and MPI.
    "JOB_COMPLETION_INDEX",
    "MPI_Abort",
];

/// Kinds of source files: a name with such an ending is one of this repository.
const SOURCES: [&str; 5] = [".rs", ".cu", ".py", ".sh", ".md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Every page: the root's, those in docs, and the README of each crate.
fn pages() -> BTreeMap<String, String> {
    let root = root();
    let files = all_files(&root).into_iter().filter(|path| {
        let place = path.split('/').collect::<Vec<_>>();
        match place[..] {
            [file] | ["docs", file] => file.ends_with(".md"),
            ["crates", _, "README.md"] => true,
            _ => false,
        }
    });
    files.map(|path| (path.clone(), fs::read_to_string(root.join(&path)).unwrap())).collect()
}

/// The paths of all files of the repository, from its root; what was built or downloaded into it is left out.
fn all_files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> =
        ["", ".ci", ".github", "crates", "docs", "scripts", "xtask", "examples"]
            .map(|name| root.join(name))
            .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"));
            } else if folder != root.join("") && !path.ends_with("target") {
                folders.push(path);
            }
        }
    }
    found
}

/// The workspace according to cargo: every crate and the crates that it depends on outside its tests.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let used = dependencies.filter(|used| used["kind"].is_null());
            (name(package), used.map(name).collect())
        })
        .collect()
}

/// The words of a text: runs of letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// All that a page may name.
struct Names {
    files: BTreeSet<String>,
    crates: BTreeSet<String>,
    /// The words of each source file outside its comments.
    words: BTreeMap<String, BTreeSet<String>>,
    functions: BTreeSet<String>,
    /// The flags of each command of the program; the key "" is for those of all commands.
    flags: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    fn read() -> Self {
        let root = root();
        let files = all_files(&root);
        let (mut all_words, mut functions) = (BTreeMap::new(), BTreeSet::new());
        let code = [".rs", ".py", ".sh", ".cu", ".toml", ".yml", "/run"];
        for path in files.iter().filter(|path| code.iter().any(|ending| path.ends_with(ending))) {
            let text = fs::read_to_string(root.join(path)).unwrap();
            // The names that this file plants do not count.
            let planted = |line: &str| {
                path.ends_with("tests/docs.rs") && line.to_lowercase().contains("gone")
            };
            let code = |line: &&str| !line.trim_start().starts_with("//") && !planted(line);
            let text = text.lines().filter(code).collect::<Vec<_>>().join("\n");
            let heads = text.match_indices("fn ").map(|(at, _)| &text[at + 3..]);
            functions.extend(heads.filter_map(|rest| words(rest).next()).map(str::to_owned));
            all_words.insert(path.clone(), words(&text).map(str::to_owned).collect());
        }
        let crates = crates().into_keys().collect();
        Self { files, crates, words: all_words, functions, flags: flags() }
    }

    /// Returns whether a file or folder ends in `path`, which may have a `*` in its last part; only those that begin with one of
    /// `places` count.
    fn has_path(&self, path: &str, places: &[String]) -> bool {
        let path = path.trim_start_matches("./");
        let within = |file: &&String| {
            places.is_empty() || places.iter().any(|place| file.starts_with(place))
        };
        let (head, tail) = path.split_once('*').unwrap_or((path, ""));
        self.files.iter().filter(within).any(|file| {
            let file = format!("/{file}");
            file.match_indices(&format!("/{head}")).any(|(at, found)| {
                let rest = &file[at + found.len()..];
                if path.contains('*') {
                    rest.ends_with(tail) && !rest.contains('/')
                } else {
                    rest.is_empty() || path.ends_with('/') || rest.starts_with('/')
                }
            })
        })
    }

    /// Returns whether `word` stands in the code, or is the name of a source file.
    fn has_word(&self, word: &str) -> bool {
        self.words.values().any(|words| words.contains(word))
            || self.files.iter().any(|file| file.ends_with(&format!("/{word}.rs")))
    }

    /// The fault of one back-quoted text, if it has one.
    fn fault_of(&self, quoted: &str) -> Option<String> {
        let fault = |what: &str| Some(format!("`{quoted}`: {what}"));
        if FOREIGN.contains(&quoted) || quoted.contains(['<', '…', '$', '{']) {
            return None;
        }
        if quoted.contains(' ') || quoted.starts_with("--") {
            return self.fault_of_command(quoted);
        }
        let plain = quoted.chars().all(|c| c.is_ascii_alphanumeric() || "_-./*:".contains(c));
        if !plain || quoted.chars().any(|c| c.is_ascii_uppercase()) && quoted.contains('/') {
            return None;
        }
        let lower = quoted.chars().all(|c| !c.is_ascii_uppercase());
        let is_path = SOURCES.iter().any(|ending| quoted.ends_with(ending))
            || quoted.ends_with(".toml") && quoted.contains('/')
            || quoted.ends_with('/')
            || ["docs/", "crates/", "scripts/", "xtask/", "noprop-"]
                .iter()
                .any(|place| quoted.starts_with(place) && quoted.contains('/'));
        if is_path {
            return if self.has_path(quoted, &[]) { None } else { fault("no such file") };
        }
        if quoted.starts_with("noprop-") && !quoted.contains(['.', ':', '*']) {
            return if self.crates.contains(quoted) { None } else { fault("no such crate") };
        }
        if let Some((path, item)) = quoted.rsplit_once("::") {
            let owner = path.rsplit("::").next().unwrap_or(path);
            let there = |words: &BTreeSet<String>| words.contains(owner) && words.contains(item);
            let crate_name = owner.replace('_', "-");
            let found = self.words.values().any(there)
                || self.crates.contains(&crate_name) && self.has_word(item);
            return if found { None } else { fault("no such item") };
        }
        let is_word = quoted.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_word {
            return None;
        }
        match quoted.matches('_').count() {
            0 if lower || quoted.chars().all(|c| !c.is_ascii_lowercase()) => None,
            0..3 => {
                if self.has_word(quoted) {
                    None
                } else {
                    fault("no such name in the code")
                }
            }
            _ if self.functions.contains(quoted) => None,
            _ => fault("no such function or test"),
        }
    }

    /// The fault of a command or of a list of flags: a command, a chore or a flag that does not exist.
    fn fault_of_command(&self, line: &str) -> Option<String> {
        let fault = |word: &str, what: &str| Some(format!("`{line}`: {word}: {what}"));
        let line_words: Vec<&str> = line.split_whitespace().collect();
        // The words up to the name of a program belong to something else: variables, mpirun, a path.
        let is_program = |word: &&str| *word == "noprop" || word.ends_with("/noprop");
        if let Some(at) = line_words.windows(2).position(|pair| pair == ["cargo", "xtask"]) {
            let mut rest = line_words[at + 2..].iter();
            let chore = rest.next()?;
            let is_chore = self.words["xtask/src/main.rs"].contains(&camel(chore));
            if !is_chore && !chore.ends_with('*') {
                return fault(chore, "no such chore");
            }
            let xtask = |word: &str| {
                let mut files = self.words.iter().filter(|(path, _)| path.starts_with("xtask/"));
                files.any(|(_, words)| words.contains(word))
            };
            let wrong = rest.find(|word| {
                word.strip_prefix("--").is_some_and(|flag| !xtask(&flag.replace('-', "_")))
            });
            return wrong.and_then(|word| fault(word, "no such flag"));
        }
        let (command, rest) = match line_words.iter().position(is_program) {
            Some(at) => {
                let command = line_words.get(at + 1)?;
                if !command.chars().all(|c| c.is_ascii_lowercase()) {
                    ("", &line_words[at + 1..])
                } else if self.flags.contains_key(*command) {
                    (*command, &line_words[at + 2..])
                } else {
                    return fault(command, "no such command");
                }
            }
            None if line_words.first().is_some_and(|word| word.starts_with("--")) => {
                ("", &line_words[..])
            }
            None => match line_words.split_first() {
                Some((command, rest)) if self.flags.contains_key(*command) => (*command, rest),
                _ => return None,
            },
        };
        let known = &self.flags[command];
        let ends = |word: &&&str| !["#", "|", "||", "&&", ";", ":::", "\\"].contains(*word);
        let wrong = rest.iter().take_while(ends).find(|word| {
            let flag = word.trim_end_matches([',', ';', ')']).split('=').next().unwrap_or(word);
            flag.starts_with("--") && !FOREIGN.contains(&flag) && !known.contains(flag)
        });
        wrong.and_then(|word| fault(word, "no such flag"))
    }

    /// Everything in `text` that names what does not exist.
    fn faults(&self, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        // The language of the block of code that the line is in, if it is in one.
        let mut fence: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                fence = if fence.is_some() { None } else { Some(language) };
                continue;
            }
            let found: Vec<String> = match fence {
                Some("" | "sh" | "yaml") => self.fault_of_command(line).into_iter().collect(),
                Some(_) => Vec::new(),
                None => line
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .filter_map(|text| self.fault_of(text))
                    .collect(),
            };
            faults.extend(found.into_iter().map(|fault| format!("line {}: {fault}", number + 1)));
        }
        faults
    }
}

/// The name of a chore as its enum has it: `fetch-cifar10` is `FetchCifar10`.
fn camel(chore: &str) -> String {
    let parts = chore.split('-').map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_uppercase() + rest
    });
    parts.collect()
}

/// The commands of the program and the flags of each, from its own help.
fn flags() -> BTreeMap<String, BTreeSet<String>> {
    let help = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_noprop")).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let flags_in = |text: &str| -> BTreeSet<String> {
        let ends = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-';
        let flags =
            text.split_whitespace().filter_map(|word| word.find("--").map(|at| &word[at..]));
        flags.map(|flag| flag.split(ends).next().unwrap_or_default().to_owned()).collect()
    };
    let top = help(&["--help"]);
    let commands = top.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| line.starts_with("  "));
    let mut flags: BTreeMap<String, BTreeSet<String>> = commands
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .map(|command| (command.to_owned(), flags_in(&help(&[command, "--help"]))))
        .collect();
    assert!(flags.len() > 5, "the help lists its commands in another way: {top}");
    let all = flags.values().flatten().cloned().collect::<BTreeSet<_>>();
    flags.insert(String::new(), &all | &flags_in(&top));
    flags
}

/// A path, a test, a type, a crate, a command or a flag in the documentation that does not exist (any longer).
#[test]
fn everything_that_the_pages_name_exists() {
    let names = Names::read();
    let mut faults = Vec::new();
    for (path, text) in pages() {
        faults.extend(names.faults(&text).into_iter().map(|fault| format!("{path}, {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The test above can fail: each kind of false name is found, and true ones are not.
#[test]
fn false_names_are_found() {
    let names = Names::read();
    for planted in [
        "`gone.rs`",
        "`noprop-data/src/gone/`",
        "`presets/*.gone.toml`",
        "`noprop-gone`",
        "`a_test_that_is_gone`",
        "`is_gone`",
        "`GoneType`",
        "`Schedule::gone_function`",
        "`--gone`",
        "`train --sampler mean`",
        "`noprop gone R`",
        "`cargo xtask gone`",
        "`cargo xtask bench --gone-flag`",
        "```\nnoprop eval R --gone\n```",
    ] {
        assert_eq!(names.faults(planted).len(), 1, "{planted}");
    }
    for real in [
        "`kind.rs`",
        "`presets/*.toml`",
        "`noprop-data`",
        "`false_names_are_found`",
        "`ScheduleKind`",
        "`Schedule::posterior`",
        "`--epochs 3`",
        "`noprop eval R --sampler mean`",
        "`cargo xtask same-bytes`",
    ] {
        assert_eq!(names.faults(real), [] as [String; 0], "{real}");
    }
}

/// `-p CRATE --test NAME` in a page or a script names a test target that cargo has.
#[test]
fn test_targets_exist() {
    let root = root();
    let mut texts = pages();
    for script in ["scripts/gpu/build.sh", "scripts/gpu/check.sh", ".ci/run"] {
        texts.insert(script.into(), fs::read_to_string(root.join(script)).unwrap());
    }
    let target = |name: &str| {
        crates().keys().any(|krate| {
            let tests = root.join("crates").join(krate).join("tests");
            tests.join(format!("{name}.rs")).is_file() || tests.join(name).join("main.rs").is_file()
        })
    };
    let mut found = 0;
    for (path, text) in texts {
        for rest in text.split("--test ").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                assert!(target(name), "{path}: no test target is called {name}");
                found += 1;
            }
        }
    }
    assert!(found > 2, "the pages name test targets in another way");
}

/// In the table of places each file lies in a crate that its row names; elsewhere a file of the same name would do.
#[test]
fn the_table_of_places_names_the_right_crates() {
    let names = Names::read();
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rows = page.lines().skip_while(|line| *line != "## Where to look").skip(1);
    let rows: Vec<&str> = rows.take_while(|line| !line.starts_with("## ")).collect();
    assert!(rows.len() > 30, "the table of places is gone");
    for row in rows {
        let ends = |c: char| !c.is_ascii_lowercase() && c != '-';
        let mentioned = row.split(ends).filter(|word| names.crates.contains(*word));
        let places: Vec<String> = mentioned
            .map(|name| if name == "xtask" { "xtask/".into() } else { format!("crates/{name}/") })
            .chain(row.contains("`scripts/").then(|| "scripts/".into()))
            .collect();
        for quoted in row.split('`').skip(1).step_by(2) {
            if quoted.ends_with(".rs") || quoted.ends_with('/') || quoted.ends_with(".toml") {
                assert!(names.has_path(quoted, &places), "{quoted} is in none of {places:?}");
            }
        }
    }
}

/// The file that a link names, and the heading in it.
#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    // As GitHub makes them: lower case, spaces become hyphens, other signs go.
    let anchors = |text: &str| -> BTreeSet<String> {
        let headings = text.lines().filter(|line| line.starts_with('#'));
        let keep = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
        headings
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .map(|line| line.chars().filter(|&c| keep(c)).collect::<String>().replace(' ', "-"))
            .collect()
    };
    for (path, text) in &pages {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                root().join(path)
            } else {
                root().join(path).parent().unwrap().join(file)
            };
            assert!(file.exists(), "{path} links to {target}");
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&file).unwrap()).contains(anchor);
                assert!(there, "{path} links to {target}: no such heading");
            }
        }
    }
}

/// The crates may import each other only along the arrows of docs/architecture.md, so that data flow one way; and the page lists all crates.
#[test]
fn imports_follow_the_arrows() {
    let crates = crates();
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut listed = BTreeSet::new();
    for (name, rest) in page.lines().filter_map(|line| line.split_once('→')) {
        let Some(used) = crates.get(name.trim()) else { continue };
        listed.insert(name.trim().to_owned());
        let arrows = rest.trim().split("  ").next().unwrap_or_default();
        let full = |arrow: &str| {
            let own = format!("noprop-{}", arrow.trim());
            if crates.contains_key(&own) { own } else { arrow.trim().to_owned() }
        };
        let arrows: BTreeSet<String> = arrows.split(',').map(full).collect();
        let inside: BTreeSet<String> =
            used.iter().filter(|name| crates.contains_key(*name)).cloned().collect();
        let outside: BTreeSet<String> = arrows.difference(&inside).cloned().collect();
        if !arrows.contains("all") {
            let missing: Vec<&String> = inside.difference(&arrows).collect();
            assert!(missing.is_empty(), "{name} must not import {missing:?}: see the arrows");
        }
        for arrow in outside.iter().filter(|arrow| !["nothing", "all"].contains(&arrow.as_str())) {
            assert!(used.contains(arrow), "{name} has an arrow to {arrow} and does not use it");
        }
    }
    assert_eq!(listed, crates.keys().cloned().collect(), "the list of docs/architecture.md");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for name in crates.keys().filter(|name| *name != "xtask") {
        let row = format!("| [`{name}`](crates/{name})");
        assert!(readme.contains(&row), "README.md has no row for {name}");
    }
}

/// A crate in a registry needs a licence and a manifest that explains it, and its users need the right version of candle.
#[test]
fn packages_are_ready_for_a_registry() {
    let root = root();
    for name in crates().keys().filter(|name| *name != "xtask") {
        let folder = root.join("crates").join(name);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let package = manifest.split("\n[").next().unwrap();
        for key in ["description", "keywords", "categories", "license"] {
            let there = package.lines().any(|line| line.starts_with(key));
            assert!(there, "{name} has no {key} in its Cargo.toml");
        }
        for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md"] {
            assert!(folder.join(file).is_file(), "{name} has no {file}");
        }
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let candle = manifest.lines().find(|line| line.starts_with("candle-core")).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.contains(candle), "README.md names another candle than {candle}");
}
