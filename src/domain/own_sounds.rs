//! The hub's own sounds of `/get_music/`: those that a toy plays when it opens, and after an answer was sent.
//!
//! Each exists in every language of `[speech] languages`, as `Success.de.mp3`. Toys and pages ask for `Success.mp3`,
//! which is the one in the families' language. It follows a change of that setting, unless the operator has put another
//! sound there.

use bytes::Bytes;

use super::error::DomainError;
use super::{FileKind, Hub};
use crate::model::FileName;
use crate::ports::speech::languages::{self, Language, Line};

/// The names without the extension, with their lines.
const OWN_SOUNDS: [(&str, Line<'static>); 4] = [
    ("Success", Line::Awake),
    ("Nolic", Line::NotBound),
    ("Nobind", Line::NotRegistered),
    // Legacy pages play it after an answer was sent.
    ("SendOK", Line::Sent),
];

/// The name of an own sound: in one language, or in that of the families.
fn name_of(stem: &str, language: Option<&Language>) -> Result<FileName, DomainError> {
    let name = match language {
        Some(language) => format!("{stem}.{}.mp3", language.code),
        None => format!("{stem}.mp3"),
    };
    name.parse().map_err(DomainError::internal)
}

/// Whether a name is reserved for one of the hub's own sounds, in whichever language.
pub(super) fn is_own(name: &FileName) -> bool {
    let names = |stem| {
        let in_languages = languages::all().iter().map(|language| Some(*language));
        in_languages.chain([None]).filter_map(move |language| name_of(stem, language).ok())
    };
    OWN_SOUNDS.iter().flat_map(|(stem, _)| names(stem)).any(|own| own.as_str().eq_ignore_ascii_case(name.as_str()))
}

impl Hub {
    /// Stores the sounds that are missing. Without speech synthesis they stay missing; the hub works without them and
    /// logs a warning.
    pub(super) async fn prepare_own_sounds(&self) -> Result<(), DomainError> {
        for (stem, line) in OWN_SOUNDS {
            for language in self.spoken_languages() {
                let name = name_of(stem, Some(language))?;
                if self.files.find(FileKind::Music, &name).await.map_err(DomainError::internal)?.is_some() {
                    continue;
                }
                match self.speak_as_mp3(&line, language).await {
                    Ok(mp3) => self.files.put(FileKind::Music, &name, mp3).await.map_err(DomainError::internal)?,
                    Err(error) => {
                        tracing::warn!(file = %name, ?error, "a sound of the hub was not made, see toyhub doctor");
                    }
                }
            }
            self.prepare_in_family_language(stem).await?;
        }
        Ok(())
    }

    /// The languages of the settings that the hub supports, that of the families among them.
    pub(super) fn spoken_languages(&self) -> impl Iterator<Item = &'static Language> {
        let (family, codes) = (self.family_language(), &self.config.speech.languages);
        let is_spoken = |language: &Language| codes.iter().any(|code| code == language.code);
        languages::all().iter().copied().filter(move |language| language.code == family.code || is_spoken(language))
    }

    /// Stores the sound that toys ask for, if it is missing or in another language than that of the families.
    async fn prepare_in_family_language(&self, stem: &str) -> Result<(), DomainError> {
        let family = self.family_language();
        let Some(wanted) = self.own_sound(stem, Some(family)).await? else { return Ok(()) };
        if let Some(found) = self.own_sound(stem, None).await? {
            let mut is_replaced = false;
            for language in languages::all().iter().filter(|language| language.code != family.code) {
                is_replaced |= self.own_sound(stem, Some(language)).await?.is_some_and(|other| other == found);
            }
            if !is_replaced {
                return Ok(());
            }
        }
        self.files.put(FileKind::Music, &name_of(stem, None)?, wanted).await.map_err(DomainError::internal)
    }

    async fn own_sound(&self, stem: &str, language: Option<&Language>) -> Result<Option<Bytes>, DomainError> {
        let name = name_of(stem, language)?;
        let Some(file) = self.files.find(FileKind::Music, &name).await.map_err(DomainError::internal)? else {
            return Ok(None);
        };
        self.files.read_whole(&file).await.map(Some).map_err(DomainError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_own_sounds_are_reserved_in_every_language() {
        for name in ["Success.mp3", "SendOK.mp3", "sendok.MP3", "Nolic.de.mp3", "Nobind.zh.mp3"] {
            assert!(is_own(&name.parse().unwrap()), "{name}");
        }
        for name in ["Success.wav", "Success.fr.mp3", "ode.mp3"] {
            assert!(!is_own(&name.parse().unwrap()), "{name}");
        }
    }
}
