//! Definition of the sections of the configuration: keys, with their defaults and texts.
//!
//! [`settings!`] generates the struct of a section, its defaults, and the list of its [`Key`]s. `broker.toml`,
//! `docs/configuration.md` ([`super::print`]) and the check for zeros use that list.

/// A property of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Families set it; it is printed first.
    Everyday,
    /// 0 has a meaning. It is refused for every other number.
    MayBeZero,
}

/// A section, such as `[http]`.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Its text, line by line.
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
    /// Its properties.
    pub marks: &'static [Mark],
}

impl Key {
    /// Whether families set it.
    pub fn is_everyday(&self) -> bool {
        self.marks.contains(&Mark::Everyday)
    }

    /// Whether 0 has a meaning.
    pub fn may_be_zero(&self) -> bool {
        self.marks.contains(&Mark::MayBeZero)
    }
}

/// Defines a section: `key: Type = default => Mark;`. The doc comment of each key is its text in `broker.toml`.
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
        // The doc comments are texts of broker.toml, not Markdown.
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

/// Defines the configuration: a field for each section, in the order of `broker.toml`.
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
