//! The shape of a Whisper model: the numbers of its header, and how its weights are stored.

/// The sizes of Whisper's vocabularies: English, many languages, version 3.
const VOCABULARIES: [u32; 3] = [51_864, 51_865, 51_866];

/// The family of a model, by its layers and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// 4 layers of 384.
    Tiny,
    /// 6 layers of 512.
    Base,
    /// 12 layers of 768.
    Small,
    /// 24 layers of 1024.
    Medium,
    /// 32 layers of 1280.
    Large,
    /// Any other shape.
    Own,
}

impl ModelKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Base => "base",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Own => "own",
        }
    }
}

/// The formats of numbers in a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantisation(&'static Storage);

#[derive(Debug, PartialEq, Eq)]
struct Storage {
    name: &'static str,
    /// The number of the whole file's type, and that of one tensor's.
    file_type: u32,
    ggml_type: u32,
    /// The number of values in a block, and the bytes of a block.
    block: u32,
    block_bytes: u32,
}

const fn storage(name: &'static str, file_type: u32, ggml_type: u32, block: u32, block_bytes: u32) -> Storage {
    Storage { name, file_type, ggml_type, block, block_bytes }
}

/// For tables that are small or delicate. A whole file of it (type 0) loads, and then ends the process:
/// whisper.cpp's convolutions take nothing but `f16`.
static F32: Storage = storage("f32", 0, 0, 1, 4);
static F16: Storage = storage("f16", 1, 1, 1, 2);
static QUANTISED: [Storage; 10] = [
    storage("q4_0", 2, 2, 32, 18),
    storage("q4_1", 3, 3, 32, 20),
    storage("q8_0", 7, 8, 32, 34),
    storage("q5_0", 8, 6, 32, 22),
    storage("q5_1", 9, 7, 32, 24),
    storage("q2_k", 10, 10, 256, 84),
    storage("q3_k", 11, 11, 256, 110),
    storage("q4_k", 12, 12, 256, 144),
    storage("q5_k", 13, 13, 256, 176),
    storage("q6_k", 14, 14, 256, 210),
];

impl Quantisation {
    pub(super) const F32: Self = Self(&F32);
    pub(super) const F16: Self = Self(&F16);

    pub(super) fn of_file_type(file_type: u32) -> Option<Self> {
        [&F16].into_iter().chain(&QUANTISED).find(|storage| storage.file_type == file_type).map(Self)
    }

    pub(super) fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) fn ggml_type(self) -> u32 {
        self.0.ggml_type
    }

    /// A row must be a multiple of this.
    pub(super) fn block(self) -> u32 {
        self.0.block
    }

    /// The bytes of so many numbers.
    pub(super) fn bytes(self, numbers: u64) -> u64 {
        numbers / u64::from(self.0.block) * u64::from(self.0.block_bytes)
    }
}

/// The numbers at the start of a model file, in its order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) vocabulary: u32,
    pub(super) audio_positions: u32,
    pub(super) audio_width: u32,
    pub(super) audio_heads: u32,
    pub(super) audio_layers: u32,
    pub(super) text_positions: u32,
    pub(super) text_width: u32,
    pub(super) text_heads: u32,
    pub(super) text_layers: u32,
    pub(super) mel_bands: u32,
    pub(super) file_type: u32,
}

impl Shape {
    /// How many numbers there are.
    pub(super) const NUMBERS: usize = 11;

    pub(super) fn of(numbers: [u32; Self::NUMBERS]) -> Self {
        let [
            vocabulary,
            audio_positions,
            audio_width,
            audio_heads,
            audio_layers,
            text_positions,
            text_width,
            text_heads,
            text_layers,
            mel_bands,
            file_type,
        ] = numbers;
        Self {
            vocabulary,
            audio_positions,
            audio_width,
            audio_heads,
            audio_layers,
            text_positions,
            text_width,
            text_heads,
            text_layers,
            mel_bands,
            file_type,
        }
    }

    /// How the weights are stored, if all the numbers are plausible together. Errors: the reason.
    pub(super) fn check(&self) -> Result<Quantisation, String> {
        // The thousands of the type count the versions of ggml's quantisation; 2 is the last.
        let quantisation = Quantisation::of_file_type(self.file_type % 1000)
            .filter(|_| self.file_type < 3000)
            .ok_or_else(|| format!("whisper.cpp cannot run weights of its type {}", self.file_type))?;
        let plausible = [
            ("vocabulary", VOCABULARIES.contains(&self.vocabulary)),
            ("audio window", (64..=1500).contains(&self.audio_positions)),
            ("audio width", (32..=1280).contains(&self.audio_width)),
            ("audio heads", self.audio_heads > 0 && self.audio_width.is_multiple_of(self.audio_heads)),
            ("audio layers", (1..=32).contains(&self.audio_layers)),
            ("text length", (64..=448).contains(&self.text_positions)),
            ("text width", self.text_width == self.audio_width),
            ("text heads", self.text_heads > 0 && self.text_width.is_multiple_of(self.text_heads)),
            ("text layers", (1..=32).contains(&self.text_layers)),
            ("mel bands", matches!(self.mel_bands, 80 | 128)),
            ("width for its quantisation", self.audio_width.is_multiple_of(quantisation.block())),
        ];
        match plausible.iter().find(|(_, fine)| !fine) {
            Some((what, _)) => Err(format!("its {what} is impossible")),
            None => Ok(quantisation),
        }
    }

    /// Whether it knows languages other than English.
    pub(super) fn is_multilingual(&self) -> bool {
        self.vocabulary > VOCABULARIES[0]
    }

    pub(super) fn kind(&self) -> ModelKind {
        match (self.audio_layers, self.audio_width) {
            (4, 384) => ModelKind::Tiny,
            (6, 512) => ModelKind::Base,
            (12, 768) => ModelKind::Small,
            (24, 1024) => ModelKind::Medium,
            (32, 1280) => ModelKind::Large,
            _ => ModelKind::Own,
        }
    }
}
