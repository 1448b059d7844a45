//! What a section of the configuration is: its keys, each with its default and its text, stated once.
//!
//! [`settings!`] makes of one statement the struct, its defaults, and the list of its [`Key`]s. Of that list are made
//! `broker.toml`, `docs/configuration.md` ([`super::print`]) and the check for zeros.

/// What is special about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Families meet it: it comes first.
    Everyday,
    /// 0 makes sense. Of every other key that is a number, it is refused.
    MayBeZero,
}

/// A section, such as `[http]`.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it is about, line by line.
    pub about: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name, with the unit last.
    pub name: &'static str,
    /// Its text, line by line.
    pub text: &'static [&'static str],
    /// What is special about it.
    pub marks: &'static [Mark],
}

impl Key {
    /// Whether families meet it.
    pub fn is_everyday(&self) -> bool {
        self.marks.contains(&Mark::Everyday)
    }

    /// Whether 0 makes sense.
    pub fn may_be_zero(&self) -> bool {
        self.marks.contains(&Mark::MayBeZero)
    }
}

/// States a section: `key: Type = default => Mark;`, the doc comment of each key being its text for people.
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        pub struct $section:ident {
            $(
                $(#[doc = $text:literal])*
                $(#[serde($($serde:tt)*)])?
                $key:ident: $type:ty = $default:expr $(=> $mark:ident)*;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        // The texts are those of broker.toml, no Markdown.
        #[allow(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links, rustdoc::invalid_html_tags)]
        pub struct $section {
            $(
                $(#[doc = $text])*
                $(#[serde($($serde)*)])?
                pub $key: $type,
            )*
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $section {
            pub(super) const ABOUT: &'static [&'static str] = &[$($about),*];
            pub(super) const KEYS: &'static [super::settings::Key] = &[
                $(super::settings::Key {
                    name: stringify!($key),
                    text: &[$($text),*],
                    marks: &[$(super::settings::Mark::$mark),*],
                },)*
            ];
        }
    };
}
pub(super) use settings;

/// States the configuration: a field for each section, in the order of `broker.toml`.
macro_rules! sections {
    ($(#[doc = $about:literal])* pub struct $config:ident { $($section:ident: $type:ident,)* }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $config {
            $(
                #[doc = concat!("`[", stringify!($section), "]`")]
                pub $section: $type,
            )*
        }

        impl $config {
            /// All sections with their keys.
            pub fn sections() -> &'static [super::config::settings::Section] {
                &[$(Section { name: stringify!($section), about: $type::ABOUT, keys: $type::KEYS },)*]
            }
        }
    };
}
pub(super) use sections;
