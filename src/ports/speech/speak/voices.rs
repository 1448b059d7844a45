//! The voices of Piper in a folder, and which one speaks what.

use std::path::{Path, PathBuf};

/// An installed voice: two files, `NAME.onnx` and `NAME.onnx.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InstalledVoice {
    /// Its name, such as `de_DE-thorsten-medium`.
    pub(super) name: String,
    /// The file of its weights.
    pub(super) file: PathBuf,
}

impl InstalledVoice {
    /// The language of its name.
    pub(super) fn language(&self) -> &str {
        language_of(&self.name).unwrap_or_default()
    }
}

/// The usable voices by name, and the faults of others.
#[derive(Debug, Default)]
pub(super) struct Voices {
    found: Vec<InstalledVoice>,
    /// The names of voices without a configuration.
    incomplete: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl Voices {
    /// The voices of a folder of Piper.
    pub(super) fn of_folder(folder: &Path) -> Self {
        let mut voices = Self::default();
        let folder = folder.join("voices");
        let without_voices = |cause: &dyn std::fmt::Display| {
            format!("{}: {cause}; espeak-ng speaks; scripts/get-voice fetches voices", folder.display())
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                voices.faults.push(without_voices(&error));
                return voices;
            }
        };
        for entry in entries.flatten() {
            let file = entry.path();
            let Some(name) = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".onnx")) else { continue };
            let configuration = folder.join(format!("{name}.onnx.json"));
            if language_of(name).is_none() {
                voices.faults.push(format!("{}: its name must be like de_DE-thorsten-medium", file.display()));
            } else if !configuration.is_file() {
                let missing = configuration.file_name().unwrap_or_default().display();
                voices.faults.push(format!("{}: its configuration {missing} is missing", file.display()));
                voices.incomplete.push(name.to_owned());
            } else {
                voices.found.push(InstalledVoice { name: name.to_owned(), file });
            }
        }
        if voices.found.is_empty() {
            voices.faults.push(without_voices(&"there is no voice that can be used"));
        }
        voices.found.sort_by(|one, other| one.name.cmp(&other.name));
        voices.faults.sort();
        voices
    }

    /// The names of all.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(|voice| voice.name.as_str())
    }

    /// Whether there are the weights of the voice of this name, and not its configuration.
    pub(super) fn lacks_configuration(&self, name: &str) -> bool {
        self.incomplete.iter().any(|incomplete| incomplete == name)
    }

    /// The voice of this name, or the first one of this language.
    pub(super) fn get(&self, name_or_language: &str) -> Option<&InstalledVoice> {
        let is_named = |voice: &&InstalledVoice| voice.name == name_or_language;
        let is_in_language = |voice: &&InstalledVoice| language_of(&voice.name) == Some(name_or_language);
        self.found.iter().find(is_named).or_else(|| self.found.iter().find(is_in_language))
    }
}

/// The language of a voice of Piper, by its name: `de` of `de_DE-thorsten-medium`. None for other names.
pub(super) fn language_of(name: &str) -> Option<&str> {
    let (place, rest) = name.split_once('-')?;
    let (language, region) = place.split_once('_')?;
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let is_language = matches!(language.len(), 2 | 3) && language.bytes().all(|byte| byte.is_ascii_lowercase());
    (is_language && !region.is_empty() && !rest.is_empty() && is_plain).then_some(language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_language_and_other_names_are_no_voices_of_piper() {
        for (name, language) in [
            ("de_DE-thorsten-medium", Some("de")),
            ("en_US-joe-medium", Some("en")),
            ("en", None),
            ("de+f3", None),
            ("en-us", None),
            ("cmn-latn-pinyin", None),
            ("en_US-../x", None),
            ("_US-joe", None),
            ("en_US-", None),
        ] {
            assert_eq!(language_of(name), language, "{name}");
        }
    }

    #[test]
    fn a_voice_without_its_configuration_is_named_and_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(folder.path().join("voices").join(name), "x").unwrap();
        let none = Voices::of_folder(folder.path());
        assert!(none.get("en").is_none() && none.faults[0].contains("get-voice"), "{:?}", none.faults);
        std::fs::create_dir(folder.path().join("voices")).unwrap();
        for name in [
            "en_US-joe-medium.onnx",
            "en_US-joe-medium.onnx.json",
            "en_GB-alan-low.onnx",
            "en_GB-alan-low.onnx.json",
            "de_DE-thorsten-medium.onnx",
            "voice.onnx",
            "readme.txt",
        ] {
            touch(name);
        }
        let voices = Voices::of_folder(folder.path());
        let name = |wanted: &str| voices.get(wanted).map(|voice| voice.name.as_str());
        assert_eq!(name("en"), Some("en_GB-alan-low"));
        assert_eq!(name("en_US-joe-medium"), Some("en_US-joe-medium"));
        assert_eq!((name("de"), name("de_DE-thorsten-medium"), name("en+f3")), (None, None, None));
        let [configuration, other] = &voices.faults[..] else { panic!("{:?}", voices.faults) };
        assert!(configuration.contains("de_DE-thorsten-medium.onnx.json is missing"), "{configuration}");
        assert!(other.contains("voice.onnx"), "{other}");
    }
}
