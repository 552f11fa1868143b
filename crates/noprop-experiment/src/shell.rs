//! Paths and names for a shell and for a terminal. They come from strangers and may hold any character.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// Returns the path as one word of a shell command. A path that begins with `-` becomes `./-…`, so that no program takes it for a
/// flag.
pub fn quoted(path: &Path) -> String {
    match path.as_os_str().as_encoded_bytes() {
        [b'-', ..] => word(Path::new(".").join(path).as_os_str()),
        _ => word(path.as_os_str()),
    }
}

/// Returns the text as one word of a shell command: unchanged if no character of it is special, else in single quotes, or as `$'…'`
/// if it holds hidden characters or bytes that are not UTF-8.
pub fn word(word: &OsStr) -> String {
    let harmless = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(harmless) => text.to_owned(),
        Some(text) if !text.contains(is_hidden) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{}'", escaped(word.as_encoded_bytes())),
    }
}

/// Returns the text with escapes such as `\n` and `\u{1b}` in place of hidden characters, which a terminal obeys instead of
/// showing them.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// As [`shown`], for a path. Bytes that are not UTF-8 become `�`.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// Returns whether the character is a control character, separates lines, or changes the direction of text.
fn is_hidden(c: char) -> bool {
    let changes_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || changes_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Returns the inside of `$'…'`.
fn escaped(bytes: &[u8]) -> String {
    let mut escaped = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => escaped.extend(['\\', c]),
                '\n' | '\r' | '\t' => escaped.extend(c.escape_default()),
                c if is_hidden(c) => escaped += &hexadecimal(c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => escaped.push(c),
            }
        }
        escaped += &hexadecimal(chunk.invalid());
    }
    escaped
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that is pasted must mean the path, and nothing else.
    #[test]
    fn a_quoted_path_is_one_word() {
        let cases = [
            ("runs/a-1_b.c", "runs/a-1_b.c"),
            ("größe/日本", "größe/日本"),
            ("", "''"),
            ("my runs", "'my runs'"),
            ("it's", r"'it'\''s'"),
            ("~/run", "'~/run'"),
            ("$(reboot);`x`*?", "'$(reboot);`x`*?'"),
            (r"a\n", r"'a\n'"),
            ("-rf", "./-rf"),
            ("-r f", "'./-r f'"),
            ("a\nb", r"$'a\nb'"),
            ("\u{1b}[2J'\\", r"$'\x1b[2J\'\\'"),
            ("\u{85}\u{202e}gnp", r"$'\xc2\x85\xe2\x80\xaegnp'"),
        ];
        for (path, expected) in cases {
            assert_eq!(quoted(Path::new(path)), expected, "{path:?}");
        }
    }

    /// bash reads every quoted name back as it was, bytes that are not text included.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_shell_reads_the_name_back() {
        use std::os::unix::ffi::OsStrExt;
        let all: Vec<u8> = (1..=255).collect();
        for name in [&b"a b'c\\d\"$e"[..], b"a\nb\x1b", b"\xff\xfe.png", b"\xc3\xa4 \xc3", &all] {
            let quoted = word(OsStr::from_bytes(name));
            let echo = format!("printf %s {quoted}");
            let output = std::process::Command::new("bash").args(["-c", &echo]).output();
            // A machine without bash has nothing to paste into.
            let Ok(output) = output else { return };
            assert_eq!(output.stdout, name, "{quoted}");
        }
    }

    #[test]
    fn hidden_characters_are_escaped_and_no_others() {
        for plain in ["", "it's \"7\" \\ €", "e\u{301}", "日本"] {
            assert_eq!(shown(plain), plain);
        }
        assert_eq!(shown("a\nb\t\u{1b}[31m\u{7f}"), r"a\nb\t\u{1b}[31m\u{7f}");
        assert_eq!(shown("\u{202e}gnp\u{9b}2J"), r"\u{202e}gnp\u{9b}2J");
    }
}
