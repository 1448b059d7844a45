//! German numbers, which are read and spelled as one word.

#[rustfmt::skip]
const UNITS: [&str; 20] = [
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn",
    "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
];

const TENS: [&str; 8] = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"];

/// A number's letters as transcripts are compared: without umlauts.
fn plain(text: &str) -> String {
    text.replace('ü', "u").replace('ö', "o").replace('ß', "ss")
}

/// "Einundzwanzig", and "ein und zwanzig": a number is one word, which recognisers and children take apart.
pub(super) fn read(words: &[&str]) -> Option<i64> {
    let letters = plain(&words.concat());
    match letters.split_once("tausend") {
        Some((thousands, rest)) => {
            let thousands = if thousands.is_empty() { 1 } else { below_thousand(thousands)?.max(1) };
            Some(thousands * 1000 + if rest.is_empty() { 0 } else { below_thousand(without_and(rest))? })
        }
        None => below_thousand(&letters),
    }
}

fn below_thousand(letters: &str) -> Option<i64> {
    match letters.split_once("hundert") {
        Some((hundreds, rest)) => {
            let hundreds =
                if hundreds.is_empty() { 1 } else { unit(hundreds).filter(|unit| (1..10).contains(unit))? };
            Some(hundreds * 100 + if rest.is_empty() { 0 } else { below_hundred(without_and(rest))? })
        }
        None => below_hundred(letters),
    }
}

fn below_hundred(letters: &str) -> Option<i64> {
    if let Some(unit) = unit(letters) {
        return Some(unit);
    }
    TENS.iter().zip((20..).step_by(10)).find_map(|(name, tens)| match letters.strip_suffix(plain(name).as_str())? {
        "" => Some(tens),
        units => Some(tens + unit(units.strip_suffix("und")?).filter(|unit| (1..10).contains(unit))?),
    })
}

fn unit(letters: &str) -> Option<i64> {
    match letters {
        "ein" => Some(1),
        "zwo" => Some(2),
        _ => UNITS.iter().position(|unit| plain(unit) == letters).and_then(|unit| unit.try_into().ok()),
    }
}

/// "Hundertundeins" is "hunderteins".
fn without_and(letters: &str) -> &str {
    letters.strip_prefix("und").unwrap_or(letters)
}

/// The cardinal of "dritte", "siebten" or "einundzwanzigstes".
pub(super) fn cardinal(word: &str) -> Option<String> {
    let stem = ["e", "en", "er", "es", "em"].iter().find_map(|ending| word.strip_suffix(ending))?;
    let cardinal = match stem {
        "erst" => "eins",
        "dritt" => "drei",
        "siebt" => "sieben",
        "acht" => "acht",
        _ => {
            stem.strip_suffix("st").filter(|cardinal| read(&[cardinal]).is_some()).or_else(|| stem.strip_suffix('t'))?
        }
    };
    read(&[cardinal]).map(|_| cardinal.to_owned())
}

/// The words of a number.
pub(super) fn spell(number: u32) -> Vec<String> {
    let name = |names: &[&'static str], at: u32| names.get(at as usize).copied().unwrap_or_default();
    let before = |count: u32| match count {
        0 | 1 => String::new(),
        count => spell(count).concat(),
    };
    let mut letters = String::new();
    for (size, word) in [(1000, "tausend"), (100, "hundert")] {
        let count = number % (size * if size == 100 { 10 } else { 1000 }) / size;
        if count > 0 {
            letters += &before(count);
            letters += word;
        }
    }
    match number % 100 {
        0 if number > 0 => {}
        rest @ 0..20 => letters += name(&UNITS, rest),
        rest => {
            if rest % 10 > 0 {
                letters += if rest % 10 == 1 { "ein" } else { name(&UNITS, rest % 10) };
                letters += "und";
            }
            letters += name(&TENS, rest / 10 - 2);
        }
    }
    vec![letters]
}

/// A day of the month, as in "der dritte Mai".
pub(in super::super) fn ordinal(day: u8) -> String {
    match day {
        1 => "erste".into(),
        3 => "dritte".into(),
        7 => "siebte".into(),
        8 => "achte".into(),
        2..20 => format!("{}te", spell(day.into()).concat()),
        _ => format!("{}ste", spell(day.into()).concat()),
    }
}
