//! Generates `broker.toml` and `docs/configuration.md` from the definitions of the sections.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::settings::{Key, Section};
use super::{Config, ConfigError};

/// The maximum length of a line of `broker.toml`.
const COLUMNS: usize = 118;

const FILE_HEAD: &str = "\
# Configuration of toyhub. Every key stands here with its default; leave out what you do not change. `toyhub config
# --default` prints this file.
#
# In each section the keys that families set come first. Those below \"rarely changed\" are limits and times that fit most
# hubs as they are.
#
# Any key can be set from the environment too: TOYHUB_SECTION__KEY=value, in upper case, with two underscores
# between section and key. It goes before this file:
#
#     TOYHUB_HTTP__LISTEN=127.0.0.1:9527 TOYHUB_MQTT__INFLIGHT_MAX=64 toyhub serve
#
# A list is written with commas: TOYHUB_HTTP__ALLOWED_ORIGINS=https://a.example,https://b.example
# An unknown key, a value of the wrong type or a 0 without a meaning stops the start; all faults are reported together.
# Names say the unit: _s seconds, _bytes bytes, _days days, _h hours, _kib 1024 bytes, _max an upper limit.
";

const PAGE_HEAD: &str = "\
# Configuration

The hub reads `broker.toml` in the folder that it is started in, or the file that `--config` names. Every key has a default,
so the file may be missing. `toyhub config --default` prints a complete one, `toyhub config --reference` this page.

`TOYHUB_SECTION__KEY` in the environment goes before the file: `TOYHUB_HTTP__LISTEN=127.0.0.1:9527`. A list is written with
commas there. An unknown key, a value of the wrong type or a 0 without a meaning stops the start; all faults are reported
together. Only `server.log` and the certificates are read again by a running hub (SIGHUP); all else needs a restart.

Names say the unit: `_s` seconds, `_bytes` bytes, `_days` days, `_h` hours, `_kib` 1024 bytes, `_max` an upper limit.

## Keys that families set

| Key | Default | Meaning |
| --- | --- | --- |
";

/// `broker.toml` with every key and its default.
///
/// # Errors
/// None in practice: the defaults can be written as TOML.
pub fn default_file() -> Result<String, ConfigError> {
    let defaults = Config::default_table()?;
    let mut file = FILE_HEAD.to_owned();
    for section in Config::sections() {
        file.push('\n');
        comment(&mut file, section.about);
        let _ = writeln!(file, "[{}]", section.name);
        for key in section.keys.iter().filter(|key| key.is_everyday()) {
            assignment(&mut file, section, key, &defaults);
        }
        let mut rest = section.keys.iter().filter(|key| !key.is_everyday()).peekable();
        if rest.peek().is_some() {
            file.push_str("# -- rarely changed --\n");
        }
        for key in rest {
            assignment(&mut file, section, key, &defaults);
        }
    }
    Ok(file)
}

/// `docs/configuration.md`.
///
/// # Errors
/// As [`default_file`].
pub fn reference() -> Result<String, ConfigError> {
    let defaults = Config::default_table()?;
    let mut page = PAGE_HEAD.to_owned();
    let row = |page: &mut String, section: &Section, key: &Key| {
        let default = value(section, key, &defaults);
        // A default of several sentences is printed in broker.toml only.
        let default = if default.chars().count() > 60 { "see broker.toml".into() } else { format!("`{default}`") };
        let text = words(key.text).join(" ").replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*");
        let _ = writeln!(page, "| `{}.{}` | {default} | {text} |", section.name, key.name);
    };
    for section in Config::sections() {
        for key in section.keys.iter().filter(|key| key.is_everyday()) {
            row(&mut page, section, key);
        }
    }
    page.push_str("\n## Keys that are rarely changed\n");
    for section in Config::sections() {
        let _ = writeln!(page, "\n### `[{}]`\n\n{}\n", section.name, words(section.about).join(" "));
        page.push_str("| Key | Default | Meaning |\n| --- | --- | --- |\n");
        for key in section.keys.iter().filter(|key| !key.is_everyday()) {
            row(&mut page, section, key);
        }
    }
    Ok(page)
}

fn assignment(file: &mut String, section: &Section, key: &Key, defaults: &Table) {
    comment(file, key.text);
    let _ = writeln!(file, "{} = {}", key.name, value(section, key, defaults));
}

/// A key's default, as TOML.
fn value(section: &Section, key: &Key, defaults: &Table) -> String {
    let value = defaults.get(section.name).and_then(|section| section.get(key.name));
    match value {
        // Always in double quotes, as the key texts use them.
        Some(Value::String(text)) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn words<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    lines.iter().flat_map(|line| line.split_whitespace()).collect()
}

/// A text as a comment, wrapped.
fn comment(file: &mut String, lines: &[&str]) {
    let mut line = String::from("#");
    for word in words(lines) {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(file, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(file, "{line}");
}
