//! German.

use time::Time;

use super::line::{self, Clock, Line, Moment, Reminded};
use super::meaning::{DraftWish, Intent, Meaning};
use super::reminding::{self, DayPart, Reminding, TimeForm};
use super::{ConsentWords, Kin, Language, Moods, NameWords, Numbers, Replies, Script, Sign, SmallWords, Sound};
use crate::model::{ReminderKind, ToyCommand};

/// German.
#[rustfmt::skip]
pub static GERMAN: Language = Language {
    code: "de",
    voice: "de",
    script: Script::Latin,
    sound: Sound::Cologne,
    phrases: PHRASES,
    choices: &[
        (true, &[
            "das erste", "der erste", "die erste", "den ersten", "erste", "das erste lied", "nummer eins", "eins",
        ]),
        (false, &[
            "das zweite", "der zweite", "die zweite", "den zweiten", "zweite", "das zweite lied", "nummer zwei", "zwei",
            "das andere", "der andere", "die andere", "den anderen", "das letzte", "der letzte", "die letzte",
        ]),
    ],
    answers: &[
        (true, &[
            "ja", "ja bitte", "ja genau", "genau", "ja klar", "richtig", "stimmt", "ja doch",
        ]),
        (false, &[
            "nein", "nein danke", "nee", "nein nicht", "falsch", "nein falsch", "nö",
        ]),
    ],
    drafts: &[
        (DraftWish::Send, &[
            "schick sie", "schick sie ab", "schick es", "schick es ab", "schick die nachricht", "ja schick sie",
            "ja schick es", "abschicken", "senden", "sende sie", "schicken", "losschicken", "schick los", "gut so",
        ]),
        (DraftWish::Again, &[
            "nochmal", "noch einmal", "nochmal sprechen", "ich möchte nochmal", "ich sag es nochmal", "von vorne",
            "von vorn", "nochmal aufnehmen", "neu aufnehmen", "eine neue nachricht",
        ]),
        (DraftWish::Play, &[
            "anhören", "vorspielen", "spiel sie vor", "spiel es vor", "spiel sie ab", "spiel es ab", "ich möchte sie hören",
            "ich möchte es hören", "lass mich hören", "was habe ich gesagt",
        ]),
        (DraftWish::Drop, &[
            "nicht schicken", "nicht abschicken", "nicht senden", "schick sie nicht", "schick es nicht", "lösch sie",
            "lösch es", "löschen", "wegwerfen", "vergiss es", "abbrechen", "stopp", "doch nicht",
        ]),
    ],
    small_words: SmallWords {
        short_forms: &[
            ("geht's", "geht es"), ("gehts", "geht es"), ("gibt's", "gibt es"), ("ist's", "ist es"), ("isses", "ist es"),
            ("is", "ist"), ("mach's", "mach es"), ("machs", "mach es"), ("spiel's", "spiel es"), ("sing's", "sing es"),
            ("sag's", "sag es"), ("hab", "habe"), ("hab's", "habe es"), ("möcht", "möchte"), ("ne", "eine"),
            ("nen", "einen"), ("nem", "einem"), ("ner", "einer"), ("n", "ein"), ("nich", "nicht"), ("nochma", "nochmal"),
            ("heut", "heute"), ("wieviel", "wie viel"), ("wieviele", "wie viele"), ("spiele", "spiel"), ("singe", "sing"),
            ("mache", "mach"), ("schicke", "schick"), ("sage", "sag"), ("rufe", "ruf"), ("höre", "hör"),
            ("erzähle", "erzähl"), ("lese", "lies"), ("les", "lies"), ("schreibe", "schreib"), ("stelle", "stell"),
            ("drehe", "dreh"), ("schalte", "schalt"), ("stoppe", "stopp"), ("stop", "stopp"), ("stoppen", "stopp"),
            ("send", "sende"), ("gebe", "gib"), ("frage", "frag"), ("lasse", "lass"), ("wiederhole", "wiederhol"),
        ],
        same: &[
            ("ich würde gerne", "ich möchte"), ("ich würde gern", "ich möchte"), ("ich hätte gerne", "ich möchte"),
            ("ich hätte gern", "ich möchte"), ("ich will", "ich möchte"), ("ich mag", "ich möchte"),
            ("ich muss", "ich möchte"), ("wir wollen", "ich möchte"), ("wir möchten", "ich möchte"),
            ("will ich", "ich möchte"), ("möchte ich", "ich möchte"), ("darf ich", "ich möchte"),
            ("kann ich", "ich möchte"), ("dürfen wir", "ich möchte"), ("können wir", "ich möchte"),
            ("wollen wir", "ich möchte"), ("lass uns", "ich möchte"), ("könntest du", "kannst du"),
            ("würdest du", "kannst du"), ("magst du", "kannst du"), ("noch mal", "nochmal"), ("noch einmal", "nochmal"),
            ("viel zu", "zu"), ("ein bisschen", ""), ("bisschen", ""), ("ein wenig", ""), ("bitte", ""), ("mal", ""), ("doch", ""),
            ("denn", ""), ("eben", ""), ("jetzt", ""), ("gerade", ""), ("einfach", ""), ("gerne", ""), ("gern", ""),
            ("eigentlich", ""), ("etwas", "was"),
        ],
        light: &[
            "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "ich", "mir", "mich",
            "du", "dir", "dich", "uns", "es", "ist", "und", "von", "vom", "zum", "zur", "für", "auf", "mit", "an", "ab",
            "was", "so", "kannst", "ähm", "äh", "hm", "dann", "auch", "dein", "deine", "deinen", "mein", "meine",
            "meinen", "meiner", "meinem", "haben", "hier", "dieses", "diese", "sehr", "ganz", "vor",
        ],
        turning: &[
            "nicht", "nie", "niemals", "kein", "keine", "keinen", "nichts", "ohne", "ich", "wer", "wem", "wen", "warum",
            "wieso", "weshalb", "wo", "wohin", "woher", "wann", "wie", "ob", "wenn", "weil", "er", "sie", "ihn", "ihm",
            "ihr", "wir", "man", "hat", "habe", "hatte", "hatten", "war", "waren", "wird", "wurde", "soll", "sollst",
            "sollen", "musst", "kann", "gesagt", "sagt", "sagte", "ruft", "rief", "schickt", "schrieb", "gestern",
        ],
        negations: &["nicht", "nie", "niemals", "kein", "keine", "keinen"],
        retractions: &["nein", "doch", "halt", "stopp", "warte", "aber", "lieber", "oder"],
        before_answer: &[
            "an", "für", "mit", "zu", "der", "die", "das", "den", "dem", "mein", "meine", "meinen", "meinte", "ich", "es",
            "ist", "ja",
        ],
        courtesy_before: &[
            "hey", "hi", "hallo", "ok", "okay", "ähm", "äh", "hm", "hmm", "oh", "ach", "also", "na", "na gut", "du",
            "und", "dann", "so", "ja", "komm", "los", "guten morgen", "guten tag", "guten abend", "entschuldigung",
            "ich möchte dass du", "lieber", "liebe",
        ],
        courtesy_after: &[
            "danke", "dankeschön", "danke schön", "ok", "okay", "ja", "für mich", "mir", "vor", "ähm", "schnell",
        ],
        joining: &["und", "dann", "also", "aber", "oder", "na", "da"],
        greetings: &["hey", "hi", "hallo", "ok", "okay", "guten morgen", "guten tag", "lieber", "liebe"],
        other_characters: "",
    },
    names: NameWords {
        kin: &[
            (&[Kin::Mother], &["mama", "mami", "mutti", "mutter", "mamma", "mammi"]),
            (&[Kin::Father], &["papa", "papi", "vati", "vater", "pappa"]),
            (&[Kin::FathersMother, Kin::MothersMother], &["oma", "omi", "großmutter", "großmama", "omama"]),
            (&[Kin::FathersFather, Kin::MothersFather], &["opa", "opi", "großvater", "großpapa", "opapa"]),
            (&[Kin::Uncle], &["onkel"]),
            (&[Kin::Aunt], &["tante"]),
            (&[Kin::ElderBrother, Kin::YoungerBrother], &["bruder"]),
            (&[Kin::ElderSister, Kin::YoungerSister], &["schwester"]),
        ],
        before_name: &[
            "der", "dem", "den", "die", "das", "mein", "meine", "meinen", "meiner", "meinem", "unser", "unsere",
            "unserer", "unserem", "liebe", "lieben", "lieber", "kleine", "kleinen", "freund", "freundin", "an", "für",
            "mit", "zu", "zur", "zum", "von", "es",
        ],
        before_noun: &[
            "das", "mein", "meine", "meinen", "meiner", "meinem", "unser", "unsere", "unserer", "unserem", "liebe", "lieben",
            "lieber", "kleine", "kleinen",
        ],
        before_relative: &[
            "mein", "meine", "meinen", "meiner", "meinem", "unser", "unsere", "unserer", "unserem", "liebe", "lieben",
            "lieber", "kleine", "kleinen",
        ],
        ordinary: &[
            "niemand", "niemanden", "jemand", "jemanden", "alle", "alles", "jeder", "jeden", "nichts", "etwas", "morgen",
            "heute", "später", "gleich", "bald", "nochmal", "wieder", "hier", "da", "dort", "zurück", "hallo", "ja", "okay",
            "hilfe", "bett", "essen",
        ],
        beside_title: &[
            "lied", "lieder", "song", "musik", "titel", "geschichte", "märchen", "hörspiel", "nochmal", "über", "hören",
            "spielen", "singen", "wieder",
        ],
    },
    numbers: Numbers {
        read,
        spell,
        cardinal,
        ordinal_endings: &["te", "ten", "ter", "tes", "ste", "sten", "ster", "stes"],
        misheard: &[
            ("vir", "vier"), ("fier", "vier"), ("sex", "sechs"), ("drey", "drei"), ("tsvei", "zwei"), ("noin", "neun"),
            ("nein", "neun"), ("blus", "plus"), ("mahl", "mal"), ("einz", "eins"),
        ],
        misspelled: &[
            "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
            "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn", "zwanzig", "dreißig",
            "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig", "hundert", "plus", "minus", "geteilt",
            "durch",
        ],
        signs: &[
            ("geteilt durch", Sign::By), ("dividiert durch", Sign::By), ("multipliziert mit", Sign::Times),
            ("plus", Sign::Plus), ("und", Sign::Plus), ("+", Sign::Plus), ("minus", Sign::Minus),
            ("weniger", Sign::Minus), ("-", Sign::Minus), ("mal", Sign::Times), ("x", Sign::Times), ("×", Sign::Times),
            ("*", Sign::Times), ("durch", Sign::By), ("÷", Sign::By), ("/", Sign::By),
        ],
        around_sum: &[
            "was", "ist", "sind", "wie", "viel", "viele", "macht", "machen", "ergibt", "ergeben", "gibt", "gleich", "das",
            "ergebnis", "von", "rechne", "rechnen", "mal", "bitte", "aus", "sag", "mir", "kannst", "du", "weißt", "die",
            "summe", "und", "hey", "hallo", "ähm", "äh", "also", "denn", "zusammen", "=",
        ],
    },
    reminding: REMINDING,
    moods: Moods {
        quiet: &[
            "schlaf", "schlafe", "schlafen", "schlaflied", "wiegenlied", "gutenachtlied", "nacht", "abend", "abendlied",
            "mond", "stern", "sterne", "sternlein", "traum", "träume", "träumen", "leise", "ruhig", "still", "stille",
            "sanft", "müde",
        ],
        story: &["geschichte", "geschichten", "gutenachtgeschichte", "märchen", "hörspiel", "fabel", "erzählung"],
        riddle: &["rätsel", "rätseln"],
    },
    consent: ConsentWords {
        stored: "Dieser Server speichert den Namen des Spielzeugs, den Namen, den du für das Kind angibst, seine Freunde \
                 und seine Sprachnachrichten. Gespeichert werden Sprachnachrichten ({messages}), Freundschaftsanfragen \
                 ({requests}) und das Protokoll, wer was gelesen, befreundet, gelöscht und heruntergeladen hat ({audit}).",
        one_day: "einen Tag",
        days: "{days} Tage",
        until_erased: "bis sie gelöscht werden",
        until_toy_erased: "bis das Spielzeug gelöscht wird",
        recordings_kept: "Aufnahmen davon, was das Kind zum Spielzeug selbst sagt, werden gespeichert, bis das Spielzeug \
                          gelöscht wird.",
        recordings_deleted: "Aufnahmen davon, was das Kind zum Spielzeug selbst sagt, werden gelöscht, bevor sie \
                             verarbeitet werden.",
        words: "Wenn ein Elternteil es für das Spielzeug einschaltet, wird der Text dessen, was das Kind zu ihm sagt, \
                gespeichert ({words}), damit die Eltern ihn lesen können.",
        reminders: "Woran das Kind erinnert werden möchte, wird gespeichert, bis das Spielzeug es erinnert hat.",
        stays: "Keine Aufnahme und kein Text verlässt diesen Server.",
        sent: "Der Text von Gesprochenem, das kein Befehl ist, wird an den Chat-Dienst gesendet, den der Betreiber dieses \
               Servers gewählt hat.",
        rights: "Nur die beiden Seiten eines Chats und die Eltern eines Spielzeugs darin können dessen Nachrichten \
                 abspielen. Du kannst das Protokoll lesen, alles herunterladen, Nachrichten, Chats, Freunde, das Spielzeug \
                 und dein Konto löschen, und diese Einwilligung widerrufen, indem du das Spielzeug trennst; das löscht \
                 alles davon.",
        between: " ",
    },
    replies: Replies {
        table: &[
            (
                &["weh", "aua", "schmerzen", "bauchweh", "kopfweh", "bauchschmerzen", "blut", "blute", "blutet", "krank",
                  "hilfe", "verletzt"],
                "Geh bitte gleich zu einem Erwachsenen und sag Bescheid. Dort bekommst du Hilfe.",
            ),
            (
                &["angst", "fürchte", "gruselig", "monster", "gespenst", "gespenster"],
                "Ich bin bei dir. Halt mich ganz fest, und erzähl deinen Eltern, was dir Angst macht.",
            ),
            (
                &["traurig", "weine", "weinen", "geweint", "einsam", "bin allein", "vermisse", "heimweh"],
                "Es tut mir leid, dass du traurig bist. Wollen wir zusammen ein Lied hören? Sag einfach: Spiel ein Lied.",
            ),
            (&["hab dich lieb", "habe dich lieb", "liebe dich", "mag dich"], "Ich habe dich auch lieb!"),
            (&["gute nacht", "schlaf gut", "müde", "schlafen"], "Gute Nacht! Schlaf gut und träum etwas Schönes."),
            (&["guten morgen"], "Guten Morgen! Hast du gut geschlafen?"),
            (&["danke", "dankeschön", "vielen dank"], "Gern geschehen!"),
            (&["tschüss", "tschüs", "auf wiedersehen", "bis bald", "bis morgen"], "Tschüss! Komm bald wieder."),
            (
                &["wie geht es dir", "wie geht s", "wie gehts", "geht es dir gut"],
                "Mir geht es gut, weil du da bist. Und dir?",
            ),
            (&["hunger", "durst", "hungrig", "durstig"], "Sag es deinen Eltern, sie geben dir bestimmt etwas."),
            (
                &["langweilig", "langeweile", "spiel mit mir", "spielst du mit mir"],
                "Lass uns spielen! Sag: Stell mir ein Rätsel, oder: Spiel ein Lied.",
            ),
            (
                &["witz", "witzig", "lustig", "lachen"],
                "Warum mag der Teddybär keinen Kuchen? Weil er schon ganz ausgestopft ist!",
            ),
            (&["hallo", "hi", "hey", "guten tag", "servus", "moin"], "Hallo! Schön, dich zu hören."),
        ],
        otherwise: "Das weiß ich noch nicht. Aber ich kann ein Lied spielen, eine Geschichte erzählen oder deinen Freunden \
                    eine Nachricht schicken.",
    },
    say,
};

// "Ich möchte" stands for all the ways to want something, "kannst du" for all the ways to ask for it: see `same`.
#[rustfmt::skip]
const REMINDING: Reminding = Reminding {
    frames: &[
        (ReminderKind::Reminder, &[
            "erinnere mich …", "erinner mich …", "erinnere uns …", "kannst du mich … erinnern",
            "könntest du mich … erinnern", "du sollst mich … erinnern", "stell eine erinnerung …", "eine erinnerung …",
            "mach eine erinnerung …", "sag mir … bescheid", "ich möchte … erinnert werden",
        ]),
        (ReminderKind::Alarm, &[
            "weck mich …", "wecke mich …", "weck mich … auf", "kannst du mich … wecken", "könntest du mich … wecken",
            "stell den wecker …", "stell einen wecker …", "stell mir den wecker …", "stell mir einen wecker …",
            "stell meinen wecker …", "ich möchte … geweckt werden",
        ]),
        (ReminderKind::Timer, &[
            "stell einen timer …", "stell den timer …", "stell mir einen timer …", "starte einen timer …",
            "starte den timer …", "mach einen timer …", "ein timer …", "timer …", "stell die eieruhr …",
            "stell die uhr …", "stell einen kurzzeitwecker …",
        ]),
    ],
    times: &[
        (TimeForm::In, &[
            "in # @", "nach # @", "für # @", "auf # @", "von # @", "# @", "in # @ und # @", "für # @ und # @",
            "auf # @ und # @", "in # @ # @",
        ]),
        (TimeForm::InAndHalf, &["in # einhalb @", "für # einhalb @", "auf # einhalb @"]),
        (TimeForm::Seconds(1800), &[
            "in einer halben stunde", "eine halbe stunde", "für eine halbe stunde", "auf eine halbe stunde",
            "nach einer halben stunde",
        ]),
        (TimeForm::Seconds(900), &["in einer viertelstunde", "eine viertelstunde", "für eine viertelstunde"]),
        (TimeForm::Seconds(5400), &[
            "in anderthalb stunden", "in eineinhalb stunden", "für anderthalb stunden", "für eineinhalb stunden",
        ]),
        (TimeForm::Seconds(2700), &["in einer dreiviertelstunde", "für eine dreiviertelstunde"]),
        (TimeForm::At, &[
            "um # uhr", "um # uhr #", "um #", "um # #", "um # # uhr", "auf # uhr", "auf # uhr #", "auf # # uhr", "auf #",
            "auf # #", "für # uhr", "für # uhr #", "# uhr", "# uhr #", "gegen # uhr", "ab # uhr",
        ]),
        (TimeForm::Past, &["um # nach #", "auf # nach #", "um # minuten nach #"]),
        (TimeForm::To, &["um # vor #", "auf # vor #", "um # minuten vor #"]),
        (TimeForm::Beside(-30), &["um halb #", "auf halb #", "halb #"]),
        (TimeForm::Beside(15), &["um viertel nach #", "auf viertel nach #", "viertel nach #"]),
        (TimeForm::Beside(-15), &[
            "um viertel vor #", "auf viertel vor #", "viertel vor #", "um dreiviertel #", "dreiviertel #",
        ]),
    ],
    units: &[
        (1, &["sekunde", "sekunden"]), (60, &["minute", "minuten"]), (3600, &["stunde", "stunden"]),
        (86_400, &["tag", "tage", "tagen"]), (604_800, &["woche", "wochen"]),
    ],
    one: &["ein", "eine", "einer", "einem", "einen"],
    parts: &[
        (DayPart::Morning, &[
            "am morgen", "morgens", "früh", "in der früh", "am vormittag", "vormittags", "vormittag", "am frühen morgen",
        ]),
        (DayPart::Noon, &["am mittag", "mittags", "mittag"]),
        (DayPart::Afternoon, &["am nachmittag", "nachmittags", "nachmittag"]),
        (DayPart::Evening, &["am abend", "abends", "abend"]),
        (DayPart::Night, &["in der nacht", "nachts", "nacht"]),
    ],
    days: &[(0, &["heute"]), (1, &["morgen"]), (2, &["übermorgen"])],
    links: &[
        "daran dass ich", "daran dass wir", "daran", "dass ich", "dass wir", "dass", "an das", "an den", "ans", "an", "zum",
        "zur", "zu", "damit ich", "um", "für",
    ],
    repeated: &[
        ("mein", "dein"), ("meine", "deine"), ("meinen", "deinen"), ("meinem", "deinem"), ("meiner", "deiner"),
        ("mir", "dir"), ("mich", "dich"), ("ich", "du"), ("muss", "musst"),
    ],
};

#[rustfmt::skip]
const PHRASES: &[(Meaning, &[&str])] = &[
    // Music
    (Meaning::Title(Intent::Unknown), &[
        "spiel …", "spiel mir …", "spielst du …", "spielst du mir …", "sing …", "sing mir …", "singst du …", "starte …",
        "mach … an", "lass … laufen", "lass mich … hören", "gib mir …", "ich möchte …", "ich möchte … hören",
        "kannst du … spielen", "kannst du mir … spielen", "kannst du … abspielen", "kannst du … anmachen",
        "kannst du … vorspielen", "kannst du mir … vorspielen", "kannst du … singen", "kannst du mir … singen",
        "kannst du mir … vorsingen", "lies …", "lies mir …", "liest du mir …", "erzähl …", "erzähl mir …",
        "erzählst du mir …", "kannst du mir … erzählen", "kannst du mir … vorlesen",
    ]),
    (Meaning::Title(Intent::NoSuchTitle), &[
        "spiel das lied …", "spiel das lied von …", "spiel das lied mit …", "spiel das … lied", "sing das lied …",
        "sing das lied von …", "ich möchte das lied … hören", "ich möchte das lied von … hören",
        "ich möchte das lied mit … hören", "kannst du das lied … spielen", "kannst du das lied von … spielen",
    ]),
    (Meaning::Title(Intent::Story), &[
        "erzähl die geschichte von …", "erzähl mir die geschichte von …", "erzähl mir eine geschichte von …",
        "erzähl mir eine geschichte über …", "lies mir die geschichte von …", "ich möchte die geschichte von … hören",
        "kannst du mir die geschichte von … erzählen", "kannst du mir die geschichte von … vorlesen",
        "erzähl mir das märchen …", "erzähl mir das märchen von …", "ich möchte das märchen … hören",
        "kannst du mir das märchen von … erzählen", "eine geschichte von …", "eine geschichte über …",
        "erzähl eine … geschichte", "erzähl mir eine … geschichte", "lies mir eine … geschichte",
        "ich möchte eine … geschichte hören",
    ]),
    (Meaning::Title(Intent::PlayAny), &[
        "spiel was …", "sing was …", "spiel ein … lied", "spiel mir ein … lied", "sing ein … lied", "sing mir ein … lied",
        "spiel … musik", "ich möchte ein … lied hören", "ich möchte … musik hören", "kannst du ein … lied spielen",
    ]),
    (Meaning::Title(Intent::Riddle), &[
        "stell mir ein … rätsel", "erzähl mir ein … rätsel", "gib mir ein … rätsel",
    ]),
    (Meaning::Number, &[
        "nummer #", "spiel nummer #", "lied #", "lied nummer #", "spiel lied #", "spiel lied nummer #",
        "spiel das lied nummer #", "titel #", "titel nummer #", "spiel titel #", "spiel titel nummer #", "das # lied",
        "spiel das # lied", "spiel mir das # lied", "spiel das #", "den # titel", "spiel den # titel", "die # geschichte",
        "spiel die # geschichte", "erzähl mir die # geschichte", "geschichte nummer #", "spiel geschichte nummer #",
        "ich möchte nummer #", "ich möchte nummer # hören", "ich möchte lied nummer # hören", "ich möchte das # lied",
        "ich möchte das # lied hören", "ich möchte die # geschichte hören", "sing nummer #", "sing das # lied",
        "kannst du nummer # spielen", "kannst du lied nummer # spielen", "kannst du das # lied spielen",
    ]),
    (Meaning::Is(Intent::PlayAny), &[
        "spiel musik", "spiel mir musik", "spiel die musik", "spiel ein lied", "spiel mir ein lied", "spiel lieder",
        "spiel was", "spiel mir was", "spiel irgendwas", "spiel irgendein lied", "spielst du ein lied",
        "spielst du musik", "sing", "sing ein lied", "sing mir ein lied", "sing was", "sing mir was", "singst du ein lied",
        "singst du mir ein lied", "musik", "ein lied", "mach musik", "mach musik an", "mach die musik an",
        "mach ein lied an", "musik an", "starte die musik", "ich möchte musik", "ich möchte musik hören",
        "ich möchte ein lied", "ich möchte ein lied hören", "ich möchte lieder hören", "ich möchte was hören",
        "ich möchte tanzen", "kannst du musik spielen", "kannst du musik machen", "kannst du musik anmachen",
        "kannst du die musik anmachen", "kannst du ein lied spielen", "kannst du mir ein lied spielen",
        "kannst du mir ein lied vorspielen", "kannst du was spielen", "kannst du ein lied singen",
        "kannst du mir ein lied singen", "kannst du mir was vorsingen", "überrasch mich", "spiel was lustiges",
        "spiel was fröhliches", "spiel was schönes", "was lustiges", "was fröhliches", "spiel was zum tanzen",
        "ein kinderlied", "spiel ein kinderlied", "sing ein kinderlied",
    ]),
    (Meaning::Is(Intent::PlayAnother), &[
        "noch eins", "noch ein lied", "spiel noch eins", "spiel noch ein lied", "sing noch ein lied", "ein anderes",
        "ein anderes lied", "spiel ein anderes", "spiel ein anderes lied", "was anderes", "spiel was anderes", "nächstes",
        "nächstes lied", "nächster titel", "das nächste", "das nächste lied", "spiel das nächste",
        "spiel das nächste lied", "weiter", "überspringen", "überspring das", "überspring das lied", "ich möchte noch eins",
        "ich möchte noch eins hören", "ich möchte noch ein lied", "ich möchte noch ein lied hören",
        "ich möchte ein anderes lied", "ich möchte ein anderes lied hören", "ich möchte was anderes",
        "ich möchte was anderes hören", "ich möchte das nächste lied hören", "nicht das", "nicht das lied",
        "nicht dieses lied", "ich möchte das lied nicht", "ich möchte das nicht", "ich möchte das lied nicht hören",
        "das lied gefällt mir nicht", "das gefällt mir nicht", "kannst du ein anderes lied spielen",
        "kannst du was anderes spielen", "kannst du noch ein lied spielen", "kannst du das nächste lied spielen",
    ]),
    (Meaning::Is(Intent::PlayAgain), &[
        "nochmal", "spiel nochmal", "spiel das nochmal", "spiel es nochmal", "spiel das lied nochmal", "das nochmal",
        "das lied nochmal", "das gleiche nochmal", "das gleiche lied nochmal", "dasselbe nochmal", "das selbe nochmal",
        "sing das nochmal", "ich möchte das nochmal hören", "ich möchte es nochmal hören",
        "ich möchte das lied nochmal hören", "wiederholen", "wiederhol das", "wiederhol das lied", "von vorne",
        "von vorn", "spiel das von vorne", "kannst du das nochmal spielen", "kannst du das lied nochmal spielen",
    ]),
    (Meaning::Is(Intent::Resume), &[
        "mach weiter", "mach bitte weiter", "erzähl weiter", "erzähl die geschichte weiter", "weiter erzählen",
        "weiter mit der geschichte", "mach weiter mit der geschichte", "spiel weiter", "spiel das lied weiter",
        "weiter mit dem lied", "mach weiter mit dem lied", "sing weiter", "weiter singen", "weiter spielen",
        "lies weiter", "weiterlesen", "weitermachen", "weitererzählen", "weiterspielen",
    ]),
    (Meaning::Is(Intent::PlayQuiet), &[
        "was ruhiges", "was leises", "was zum einschlafen", "was zum schlafen", "spiel was ruhiges", "spiel was leises",
        "spiel was sanftes", "spiel was zum einschlafen", "spiel was zum schlafen", "ein schlaflied", "spiel ein schlaflied",
        "spiel mir ein schlaflied", "sing ein schlaflied", "sing mir ein schlaflied", "singst du mir ein schlaflied",
        "ein wiegenlied", "spiel ein wiegenlied", "ein gutenachtlied", "spiel ein gutenachtlied", "ein ruhiges lied",
        "spiel ein ruhiges lied", "ein leises lied", "spiel ein leises lied", "ruhige musik", "spiel ruhige musik",
        "spiel leise musik", "mach ruhige musik an", "ich möchte schlafen", "ich möchte einschlafen",
        "ich möchte was ruhiges", "ich möchte was ruhiges hören", "ich möchte was leises hören",
        "ich möchte ein schlaflied hören", "ich möchte ruhige musik hören", "kannst du was ruhiges spielen",
        "kannst du ein schlaflied spielen", "kannst du ein schlaflied singen", "kannst du mir ein schlaflied singen",
    ]),
    (Meaning::Is(Intent::Stop), &[
        "stopp", "halt", "halt an", "halt die musik an", "stopp die musik", "stopp das lied", "anhalten", "aufhören",
        "hör auf", "hör damit auf", "hör auf zu spielen", "hör auf zu singen", "hör auf zu reden", "hör auf zu erzählen",
        "schluss", "schluss damit", "aus", "mach aus", "mach das aus", "mach es aus", "mach die musik aus",
        "mach das lied aus", "mach die geschichte aus", "musik aus", "schalt aus", "schalt das aus", "schalt die musik aus",
        "stell die musik ab", "ruhe", "still", "sei still", "sei leise", "sei ruhig", "pause", "mach pause",
        "mach eine pause", "warte", "genug", "das reicht", "es reicht", "keine musik mehr", "kein lied mehr",
        "spiel nicht mehr", "sing nicht mehr", "nicht mehr spielen", "nicht mehr singen", "ich möchte nichts mehr hören",
        "halt den mund", "kannst du aufhören", "kannst du das ausmachen", "kannst du die musik ausmachen",
        "kannst du die musik stoppen", "kannst du still sein", "kannst du leise sein",
    ]),
    (Meaning::Is(Intent::Louder), &[
        "lauter", "noch lauter", "viel lauter", "mach lauter", "mach es lauter", "mach das lauter", "mach die musik lauter",
        "mach das lied lauter", "stell lauter", "stell es lauter", "stell die musik lauter", "dreh lauter", "dreh auf",
        "dreh die musik auf", "spiel lauter", "sing lauter", "sprich lauter", "rede lauter", "lautstärke hoch",
        "mehr lautstärke", "zu leise", "es ist zu leise", "das ist zu leise", "du bist zu leise",
        "die musik ist zu leise", "ich hör nichts", "ich hör dich nicht", "ich kann nichts hören",
        "ich kann dich nicht hören", "geht es lauter", "geht das lauter", "kannst du lauter machen",
        "kannst du es lauter machen", "kannst du das lauter machen", "kannst du die musik lauter machen",
        "kannst du lauter spielen", "kannst du lauter sprechen", "kannst du lauter reden", "kannst du lauter singen",
        "kannst du lauter sein",
    ]),
    (Meaning::Is(Intent::Softer), &[
        "leiser", "leise", "noch leiser", "viel leiser", "mach leiser", "mach es leiser", "mach das leiser",
        "mach die musik leiser", "mach das lied leiser", "stell leiser", "stell es leiser", "stell die musik leiser",
        "dreh leiser", "dreh runter", "spiel leiser", "sing leiser", "sprich leiser", "rede leiser", "lautstärke runter",
        "weniger lautstärke", "weniger laut", "nicht so laut", "mach nicht so laut", "zu laut", "es ist zu laut",
        "das ist zu laut", "du bist zu laut", "die musik ist zu laut", "geht es leiser", "geht das leiser",
        "kannst du leiser machen", "kannst du es leiser machen", "kannst du das leiser machen",
        "kannst du die musik leiser machen", "kannst du leiser spielen", "kannst du leiser sprechen",
        "kannst du leiser reden", "kannst du leiser singen", "kannst du leiser sein",
    ]),
    // Messages
    (Meaning::Friend(Intent::NoSuchFriend), &[
        "*schick … eine nachricht", "*schick … eine sprachnachricht", "*schick eine nachricht an! …",
        "*schick eine sprachnachricht an! …", "schick … was", "*sende … eine nachricht", "*sende eine nachricht an! …",
        "*schreib … eine nachricht", "*schreib eine nachricht an! …", "*nimm eine nachricht für! … auf",
        "*hinterlass … eine nachricht", "nachricht an! …", "nachricht für! …", "eine nachricht an! …",
        "eine nachricht für! …", "*ich möchte … eine nachricht schicken", "*ich möchte … eine sprachnachricht schicken",
        "*ich möchte eine nachricht an! … schicken", "*ich möchte … eine nachricht senden",
        "*ich möchte eine nachricht an! … senden", "*ich möchte … eine nachricht schreiben",
        "*ich möchte … eine nachricht aufnehmen", "*ich möchte … eine nachricht hinterlassen", "ich möchte … was schicken",
        "ich möchte … was sagen", "ich möchte … was erzählen", "ich möchte … anrufen", "*ich möchte mit! … sprechen",
        "*ich möchte mit! … reden", "*ich möchte mit! … telefonieren", "*kannst du … eine nachricht schicken",
        "*kannst du … eine sprachnachricht schicken", "*kannst du eine nachricht an! … schicken",
        "*kannst du … eine nachricht senden", "kannst du … was sagen", "kannst du … anrufen",
    ]),
    (Meaning::Friend(Intent::Unknown), &[
        "sag …", "sag … dass", "sag es …", "sag … gute nacht", "sag … guten morgen", "sag … hallo", "erzähl … dass",
        "frag …", "grüß …", "schöne grüße an! …", "ruf … an", "sprich mit! …", "rede mit! …", "telefonier mit! …",
        "schreib …", "schreib an! …", "schick das an! …", "kannst du … sagen", "kannst du … fragen",
    ]),
    (Meaning::Is(Intent::NoSuchFriend), &[
        "schick eine nachricht", "sende eine nachricht", "nimm eine nachricht auf", "eine nachricht schicken",
        "ich möchte eine nachricht schicken", "ich möchte eine nachricht senden", "ich möchte eine nachricht aufnehmen",
        "kannst du eine nachricht schicken", "kannst du eine nachricht aufnehmen",
    ]),
    // Questions
    (Meaning::Is(Intent::Time), &[
        "wie spät ist es", "wie spät", "wie spät haben wir es", "wie viel uhr ist es", "wie viel uhr haben wir",
        "wie viel uhr", "die uhrzeit", "wie ist die uhrzeit", "welche uhrzeit haben wir", "sag mir die uhrzeit",
        "sag wie spät ist es", "sag wie spät es ist", "sag mir wie spät es ist", "sag mir wie viel uhr es ist",
        "weißt du wie spät es ist", "weißt du wie viel uhr es ist", "kannst du mir sagen wie spät es ist",
        "kannst du mir sagen wie viel uhr es ist", "kannst du mir die uhrzeit sagen",
    ]),
    (Meaning::Is(Intent::Date), &[
        "welcher tag ist heute", "welchen tag haben wir heute", "welchen tag haben wir", "was für ein tag ist heute",
        "was ist heute für ein tag", "was für einen tag haben wir heute", "welcher wochentag ist heute",
        "welches datum ist heute", "welches datum haben wir heute", "welches datum haben wir", "wie ist das datum",
        "das datum", "der wievielte ist heute", "den wievielten haben wir heute", "sag mir das datum",
        "sag mir welcher tag heute ist", "weißt du welcher tag heute ist", "weißt du was heute für ein tag ist",
        "kannst du mir sagen welcher tag heute ist", "welcher monat ist", "welchen monat haben wir", "welches jahr ist",
        "welches jahr haben wir",
    ]),
    // Stories
    (Meaning::Is(Intent::Story), &[
        "geschichte", "eine geschichte", "ein märchen", "ein hörspiel", "erzähl eine geschichte",
        "erzähl mir eine geschichte", "erzähl uns eine geschichte", "erzähl mir ein märchen", "erzähl ein märchen",
        "erzähl was", "erzähl mir was", "erzählst du mir eine geschichte", "lies eine geschichte",
        "lies mir eine geschichte", "lies mir ein märchen", "lies mir was", "liest du mir eine geschichte",
        "liest du mir was", "noch eine geschichte", "erzähl noch eine geschichte", "erzähl mir noch eine geschichte",
        "ich möchte eine geschichte", "ich möchte eine geschichte hören", "ich möchte noch eine geschichte hören",
        "ich möchte ein märchen hören", "ich möchte ein hörspiel hören", "kannst du eine geschichte erzählen",
        "kannst du mir eine geschichte erzählen", "kannst du mir eine geschichte vorlesen", "kannst du mir was vorlesen",
        "kannst du mir was erzählen", "kannst du mir ein märchen erzählen", "kennst du eine geschichte",
        "weißt du eine geschichte", "spiel eine geschichte", "spiel ein hörspiel", "eine gutenachtgeschichte",
        "erzähl mir eine gutenachtgeschichte", "lies mir eine gutenachtgeschichte",
        "ich möchte eine gutenachtgeschichte hören", "kannst du mir eine gutenachtgeschichte erzählen",
    ]),
    (Meaning::Is(Intent::Riddle), &[
        "rätsel", "ein rätsel", "noch ein rätsel", "stell mir ein rätsel", "stell mir noch ein rätsel",
        "erzähl mir ein rätsel", "sag mir ein rätsel", "gib mir ein rätsel", "kennst du ein rätsel", "weißt du ein rätsel",
        "hast du ein rätsel", "hast du ein rätsel für mich", "ich möchte ein rätsel", "ich möchte ein rätsel hören",
        "ich möchte ein rätsel raten", "ich möchte rätseln", "ich möchte raten", "lass mich raten",
        "kannst du mir ein rätsel stellen", "kannst du mir ein rätsel sagen", "kannst du mir ein rätsel erzählen",
    ]),
    // Erinnerungen
    (Meaning::Is(Intent::ListReminders), &[
        "welche erinnerungen gibt es", "welche erinnerungen habe ich", "was für erinnerungen gibt es",
        "was für erinnerungen habe ich", "habe ich erinnerungen", "gibt es erinnerungen", "sag mir meine erinnerungen",
        "meine erinnerungen", "wie lange läuft der timer", "wie lange läuft der timer noch", "wie lange noch",
        "welche timer gibt es", "welche wecker gibt es", "wann weckst du mich", "woran erinnerst du mich",
        "wann erinnerst du mich", "was sind meine erinnerungen",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Timer)), &[
        "stopp den timer", "halt den timer an", "stell den timer aus", "mach den timer aus", "schalt den timer aus",
        "lösch den timer", "lösche den timer", "timer stopp", "timer aus", "den timer stoppen", "beende den timer",
        "stopp die eieruhr",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Alarm)), &[
        "stell den wecker aus", "mach den wecker aus", "schalt den wecker aus", "lösch den wecker", "lösche den wecker",
        "stopp den wecker", "weck mich nicht", "weck mich doch nicht", "wecker aus",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Reminder)), &[
        "lösch die erinnerung", "lösche die erinnerung", "lösch die erinnerungen", "lösche die erinnerungen",
        "lösch meine erinnerungen", "lösche meine erinnerungen", "lösch alle erinnerungen", "lösche alle erinnerungen",
        "vergiss die erinnerung", "vergiss die erinnerungen", "vergiss meine erinnerungen", "erinnere mich nicht",
        "stopp die erinnerung",
    ]),
    (Meaning::Is(Intent::PlayMessages), &[
        "spiel meine nachrichten", "spiel die nachrichten", "spiel die nachricht", "spiel meine nachrichten ab",
        "spiel die nachrichten ab", "spiel die nachricht ab", "lies meine nachrichten vor", "lies die nachricht vor",
        "habe ich nachrichten", "habe ich eine nachricht", "habe ich neue nachrichten", "habe ich post",
        "gibt es nachrichten", "gibt es neue nachrichten", "gibt es eine nachricht", "gibt es eine nachricht für mich",
        "sind nachrichten da", "ist eine nachricht da", "ich möchte meine nachrichten hören",
        "ich möchte die nachricht hören", "ich möchte die nachrichten hören", "meine nachrichten", "neue nachrichten",
    ]),
    (Meaning::Is(Intent::WhoAreYou), &[
        "wer bist du!", "was bist du!", "wie heißt du!", "wie ist dein name", "hast du einen namen", "sag mir wer du bist",
        "sag mir wie du heißt", "sag mir deinen namen", "sag deinen namen", "sag wer bist du!", "sag wie heißt du!",
        "weißt du wer du bist", "weißt du wie du heißt", "kannst du mir sagen wie du heißt",
        "kannst du mir sagen wer du bist", "kannst du mir deinen namen sagen",
    ]),
];

/// For a hub without stories: short enough to be spoken in one go.
#[rustfmt::skip]
const STORIES: &[&str] = &[
    "Ein kleiner Bär konnte nicht schlafen, denn die Nacht war so dunkel. Da schaute er aus dem Fenster. Am Himmel stand \
     der Mond, rund und hell. Ich passe auf dich auf, sagte der Mond. Da machte der kleine Bär die Augen zu, und als er \
     aufwachte, schien die Sonne.",
    "Eine Schnecke wollte das Meer sehen. Der Weg ist zu weit für dich, sagte der Hase. Aber die Schnecke kroch jeden Tag \
     ein Stückchen und sah sich jede Blume an. Als sie ans Meer kam, kannte sie hundert Blumen. Der Hase hatte keine \
     einzige gesehen.",
    "Eine Ente fand einen roten Regenschirm. Es regnete, und die Maus kam darunter, dann die Katze und dann der Hund. Er \
     ist zu klein für uns alle, sagte die Katze. Dann rückt näher zusammen, sagte die Ente. Das taten sie, und niemand \
     wurde nass.",
];

#[rustfmt::skip]
const RIDDLES: &[&str] = &[
    "Was geht und geht und kommt doch nie ans Ziel? … Die Uhr!",
    "Was wird immer nasser, je mehr es trocknet? … Das Handtuch!",
    "Was hat viele Zähne und kann doch nicht beißen? … Der Kamm!",
    "Was fällt vom Himmel und tut sich niemals weh? … Der Regen!",
    "Was führt den Berg hinauf und wieder hinunter und bewegt sich doch nie? … Der Weg!",
];

const WEEKDAYS: [&str; 7] = ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"];

#[rustfmt::skip]
const MONTHS: [&str; 12] = [
    "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember",
];

#[rustfmt::skip]
const UNITS: [&str; 20] = [
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn",
    "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
];

const TENS: [&str; 8] = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"];

/// The letters of a number as transcripts are compared: without umlauts.
fn plain(text: &str) -> String {
    text.replace('ü', "u").replace('ö', "o").replace('ß', "ss")
}

/// "Einundzwanzig", and "ein und zwanzig": a number is one word, which recognisers and children take apart.
fn read(words: &[&str]) -> Option<i64> {
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
fn cardinal(word: &str) -> Option<String> {
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
fn spell(number: u32) -> Vec<String> {
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

fn say(line: &Line<'_>) -> String {
    match line {
        Line::NotUnderstood => "Ich habe dich nicht verstanden. Sag es bitte noch einmal.".into(),
        Line::SayYourMessage(remark) => format!("Sprich nach dem Ton deine Nachricht für {remark}."),
        Line::Which(first, second) => format!("Meinst du {first} oder {second}?"),
        Line::IsItFor(remark) => format!("Soll die Nachricht für {remark} sein?"),
        Line::NoSuchTitle => "Das habe ich leider nicht. Sag: Spiel ein Lied, dann suche ich ein anderes aus.".into(),
        Line::NoSuchNumber => "Ein Lied mit dieser Nummer habe ich nicht.".into(),
        Line::NoMusic => "Ich habe noch keine Musik. Frag bitte deine Eltern danach.".into(),
        Line::QuietTime => "Jetzt ist Ruhezeit. Musik hören wir später.".into(),
        Line::NoSuchFriend => "Diesen Namen kenne ich nicht. Für wen soll die Nachricht sein?".into(),
        Line::WhoFor => "Für wen soll die Nachricht sein?".into(),
        Line::Done(ToyCommand::Stop) => "Gut, ich höre auf.".into(),
        Line::Done(ToyCommand::Louder) => "Gut, lauter.".into(),
        Line::Done(ToyCommand::Softer) => "Gut, leiser.".into(),
        Line::Time(Clock { time, .. }) => {
            format!("Es ist {}.", time_of_day(*time))
        }
        Line::Date(Clock { date, .. }) => {
            let name = |names: &[&'static str], at: u8| names.get(usize::from(at)).copied().unwrap_or_default();
            let weekday = name(&WEEKDAYS, date.weekday().number_days_from_monday());
            let month = name(&MONTHS, u8::from(date.month()) - 1);
            format!("Heute ist {weekday}, der {} {month} {}.", ordinal(date.day()), date.year())
        }
        Line::Sum(value) => format!("Das macht {}{}.", if *value < 0 { "minus " } else { "" }, value.unsigned_abs()),
        Line::WhoAreYou("") => "Ich bin dein Spielzeug und dein Freund.".into(),
        Line::WhoAreYou(name) => format!("Ich bin {name}, dein Spielzeug und dein Freund."),
        Line::Story => line::any(STORIES),
        Line::Riddle => line::any(RIDDLES),
        Line::MessageFrom(remark) => format!("Du hast eine Nachricht von {remark}."),
        Line::MessagesFrom(remark) => format!("Nachrichten von {remark}."),
        Line::NoMessages => "Du hast keine neuen Nachrichten.".into(),
        Line::Awake => "Hallo, ich bin wach. Lass uns spielen!".into(),
        Line::NotBound => "Ich gehöre noch niemandem. Bitte scanne mein Bild mit der App.".into(),
        Line::NotRegistered => "Ich bin noch nicht angemeldet. Bitte hol dir Hilfe.".into(),
        Line::ShallISend(remark) => {
            format!("Soll ich die Nachricht an {remark} abschicken? Sag: abschicken, nochmal oder nein.")
        }
        Line::NotSent => "Gut, ich schicke sie nicht ab.".into(),
        Line::Sent => "Deine Nachricht ist unterwegs.".into(),
        Line::ReminderSet(reminded) => {
            let (moment, words) = (moment(&reminded.moment), REMINDING.repeat(reminded.words));
            match (reminded.kind, words.as_str()) {
                (ReminderKind::Timer, _) => format!("Gut, der Timer klingelt {moment}."),
                (ReminderKind::Alarm, _) => format!("Gut, ich wecke dich {moment}."),
                (ReminderKind::Reminder, "") => format!("Gut, ich erinnere dich {moment}."),
                (ReminderKind::Reminder, words) => format!("Gut, ich erinnere dich {moment}: {words}."),
            }
        }
        Line::WhenReminder(ReminderKind::Timer) => "Wie lange soll der Timer laufen?".into(),
        Line::WhenReminder(ReminderKind::Alarm) => "Wann soll ich dich wecken?".into(),
        Line::WhenReminder(ReminderKind::Reminder) => "Wann soll ich dich erinnern?".into(),
        Line::RemindersFull => "Mehr Erinnerungen kann ich mir nicht merken. Sag: Vergiss meine Erinnerungen.".into(),
        Line::TooFarAhead => "Das ist mir zu weit weg. Sag es bitte einem Erwachsenen.".into(),
        Line::ReminderDue(Reminded { kind, words, .. }) => match (kind, REMINDING.repeat(words).as_str()) {
            (ReminderKind::Timer, "") => "Klingeling! Die Zeit ist um.".into(),
            (ReminderKind::Alarm, "") => "Guten Morgen! Klingeling! Zeit zum Aufstehen.".into(),
            (ReminderKind::Reminder, "") => "Hallo! Hier ist deine Erinnerung.".into(),
            (ReminderKind::Timer, words) => format!("Klingeling! Die Zeit ist um: {words}."),
            (ReminderKind::Alarm, words) => format!("Klingeling! Zeit zum Aufstehen: {words}."),
            (ReminderKind::Reminder, words) => format!("Hallo! Hier ist deine Erinnerung: {words}."),
        },
        Line::ReminderMissed(Reminded { kind, moment: at, words }) => {
            let (at, words) = (moment(at), REMINDING.repeat(words));
            match (kind, words.as_str()) {
                (ReminderKind::Timer, _) => format!("Dein Timer war {at} um."),
                (ReminderKind::Alarm, _) => format!("Ich konnte dich {at} nicht wecken."),
                (ReminderKind::Reminder, "") => format!("Ich konnte dich {at} nicht erinnern."),
                (ReminderKind::Reminder, words) => format!("Ich konnte dich {at} nicht erinnern: {words}."),
            }
        }
        Line::RemindersAre(all) => {
            let texts = all.iter().map(|Reminded { kind, moment: at, words }| {
                let (at, words) = (moment(at), REMINDING.repeat(words));
                match (kind, words.as_str()) {
                    (ReminderKind::Timer, _) => format!("Der Timer klingelt {at}."),
                    (ReminderKind::Alarm, _) => format!("Ich wecke dich {at}."),
                    (ReminderKind::Reminder, "") => format!("Ich erinnere dich {at}."),
                    (ReminderKind::Reminder, words) => format!("Ich erinnere dich {at}: {words}."),
                }
            });
            texts.collect::<Vec<_>>().join(" ")
        }
        Line::NoReminders => "Es gibt keine Erinnerungen.".into(),
        Line::RemindersCancelled(ReminderKind::Timer, 0) => "Es läuft kein Timer.".into(),
        Line::RemindersCancelled(ReminderKind::Alarm, 0) => "Es ist kein Wecker gestellt.".into(),
        Line::RemindersCancelled(ReminderKind::Reminder, 0) => "Es gibt keine Erinnerung zu vergessen.".into(),
        Line::RemindersCancelled(ReminderKind::Timer, _) => "Gut, der Timer ist aus.".into(),
        Line::RemindersCancelled(ReminderKind::Alarm, _) => "Gut, ich wecke dich nicht.".into(),
        Line::RemindersCancelled(ReminderKind::Reminder, _) => "Gut, ich habe deine Erinnerungen vergessen.".into(),
        Line::UnreadMessages(count, names) => {
            let from = reminding::listed(names, " und ");
            match count {
                1 => format!("Du hast eine neue Nachricht von {from}. Soll ich sie abspielen?"),
                count => format!("Du hast {count} neue Nachrichten von {from}. Soll ich sie abspielen?"),
            }
        }
        Line::MessagesLater => "Jetzt ist Ruhezeit. Deine Nachrichten warten auf dich.".into(),
        Line::NotNow => "Gut, später.".into(),
    }
}

/// "7 Uhr 30 am Abend".
fn time_of_day(time: Time) -> String {
    let (hour, minute) = (time.hour(), time.minute());
    let part = match hour {
        0..5 | 22.. => "in der Nacht",
        5..10 => "am Morgen",
        10..12 => "am Vormittag",
        12..14 => "am Mittag",
        14..18 => "am Nachmittag",
        18..22 => "am Abend",
    };
    // "Ein Uhr", where the number by itself would be read as "eins".
    let hour = match (hour + 11) % 12 + 1 {
        1 => "ein".to_owned(),
        hour => hour.to_string(),
    };
    match minute {
        0 => format!("{hour} Uhr {part}"),
        _ => format!("{hour} Uhr {minute} {part}"),
    }
}

/// "In 10 Minuten", "morgen um 7 Uhr am Morgen".
fn moment(moment: &Moment) -> String {
    match moment {
        Moment::In(seconds) => {
            let (hours, minutes, seconds) = reminding::parts_of(*seconds);
            let part = |count: u32, one: &str, many: &str| match count {
                0 => None,
                1 => Some(format!("einer {one}")),
                count => Some(format!("{count} {many}")),
            };
            let parts: Vec<String> = [
                part(hours, "Stunde", "Stunden"),
                part(minutes, "Minute", "Minuten"),
                part(seconds, "Sekunde", "Sekunden"),
            ]
            .into_iter()
            .flatten()
            .collect();
            format!("in {}", reminding::listed(&parts, " und "))
        }
        Moment::At(clock, days) => {
            let time = time_of_day(clock.time);
            match days {
                0 => format!("um {time}"),
                1 => format!("morgen um {time}"),
                -1 => format!("gestern um {time}"),
                _ => {
                    let name = |names: &[&'static str], at: u8| names.get(usize::from(at)).copied().unwrap_or_default();
                    let weekday = name(&WEEKDAYS, clock.date.weekday().number_days_from_monday());
                    format!("am {weekday} um {time}")
                }
            }
        }
    }
}

/// A day of the month, as in "der dritte Mai".
pub(super) fn ordinal(day: u8) -> String {
    match day {
        1 => "erste".into(),
        3 => "dritte".into(),
        7 => "siebte".into(),
        8 => "achte".into(),
        2..20 => format!("{}te", spell(day.into()).concat()),
        _ => format!("{}ste", spell(day.into()).concat()),
    }
}
