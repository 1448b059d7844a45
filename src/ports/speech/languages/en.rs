//! English.

use time::Time;

use super::line::{self, Clock, Line, Moment, Reminded};
use super::meaning::{DraftWish, Intent, Meaning};
use super::reminding::{self, DayPart, Reminding, TimeForm};
use super::{ConsentWords, Kin, Language, Moods, NameWords, Numbers, Replies, Script, Sign, SmallWords, Sound};
use crate::model::{ReminderKind, ToyCommand};

/// English.
#[rustfmt::skip]
pub static ENGLISH: Language = Language {
    code: "en",
    voice: "en",
    script: Script::Latin,
    sound: Sound::Metaphone,
    phrases: PHRASES,
    choices: &[
        (true, &[
            "the first", "the first one", "first", "number one", "one",
        ]),
        (false, &[
            "the second", "the second one", "second", "number two", "two", "the last one", "the other one",
        ]),
    ],
    answers: &[
        (true, &[
            "yes", "yes please", "yeah", "yep", "yes i do", "yes that one", "right", "that is right", "yes it is", "sure",
            "yes yes", "yes yes yes", "yes of course", "of course", "yes okay", "okay", "ok",
        ]),
        (false, &[
            "no", "no thank you", "nope", "no i do not", "not that one", "no not that one", "wrong", "no it is not",
        ]),
    ],
    drafts: &[
        (DraftWish::Send, &[
            "send it", "yes send it", "send", "send that", "send the message", "send my message", "send it now",
            "ok send it", "you can send it", "that is good", "good",
        ]),
        (DraftWish::Again, &[
            "again", "once more", "one more time", "say it again", "i want to say it again", "record it again",
            "record again", "start again", "start over", "new message", "a new message", "let me say it again",
            "let me try again", "try again",
        ]),
        (DraftWish::Play, &[
            "play it", "play it back", "play the message", "play my message", "let me hear it", "i want to hear it",
            "can i hear it", "listen", "listen to it", "hear it", "what did i say", "play it first",
        ]),
        (DraftWish::Drop, &[
            "do not send it", "do not send", "do not", "no do not send it", "delete it", "throw it away", "cancel",
            "forget it", "stop", "never mind",
        ]),
    ],
    small_words: SmallWords {
        short_forms: &[
            ("what's", "what is"), ("whats", "what is"), ("who's", "who is"), ("that's", "that is"),
            ("thats", "that is"), ("it's", "it is"), ("let's", "let us"), ("lets", "let us"), ("i'm", "i am"),
            ("i'd", "i would"), ("i'll", "i will"), ("you're", "you are"), ("don't", "do not"), ("dont", "do not"),
            ("doesn't", "does not"), ("didn't", "did not"), ("can't", "can not"), ("cant", "can not"),
            ("cannot", "can not"), ("won't", "will not"), ("wanna", "want to"), ("gimme", "give me"),
            ("lemme", "let me"),
        ],
        same: &[
            ("really", ""), ("just", ""), ("would like", "want"), ("could i", "can i"),
        ],
        light: &[
            "a", "an", "the", "to", "too", "two", "me", "my", "i", "it", "is", "of", "for", "and", "some", "please",
            "now", "you", "us", "can", "are", "do", "be", "this", "what", "that", "um", "uh", "so", "tell", "then",
            "your", "make", "bit",
        ],
        turning: &[
            "not", "never", "no", "i", "who", "whom", "why", "where", "when", "how", "if", "because", "he", "she",
            "they", "we", "him", "her", "them", "said", "says", "was", "were", "did", "does", "will", "had", "has",
            "went", "told", "sent",
        ],
        negations: &[],
        retractions: &[
            "no", "not", "never", "nobody", "stop", "cancel", "wait", "mean", "meant", "kidding", "joking", "maybe",
            "actually", "instead", "forget", "but", "or",
        ],
        before_answer: &[
            "to", "for", "the", "my", "friend", "i", "mean", "meant", "it", "that", "is", "yes", "yeah", "with",
        ],
        courtesy_before: &[
            "please", "hey", "hi", "hello", "ok", "okay", "um", "uh", "er", "erm", "hm", "hmm", "oh", "excuse me",
            "ah", "well", "so", "and", "now", "then", "can you", "could you", "will you", "would you",
            "can you please", "i want you to", "let us", "can we", "could we", "may we", "shall we",
        ],
        courtesy_after: &[
            "please", "now", "thanks", "thank you", "okay", "ok", "um", "for me", "to me", "a bit", "a little",
            "a little bit",
        ],
        joining: &["and", "then", "so", "well", "but", "because", "or", "now"],
        greetings: &["hey", "hi", "hello", "ok", "okay", "dear"],
        other_characters: "",
    },
    names: NameWords {
        kin: &[
            (&[Kin::Mother], &["mum", "mom", "mummy", "mommy", "mama", "mother", "momma"]),
            (&[Kin::Father], &["dad", "daddy", "papa", "father"]),
            (
                &[Kin::FathersMother, Kin::MothersMother],
                &["grandma", "grandmother", "granny", "nana", "gran", "grandmama"],
            ),
            (&[Kin::FathersFather, Kin::MothersFather], &["grandpa", "grandfather", "granddad", "grandad", "grandpapa"]),
            (&[Kin::Uncle], &["uncle"]),
            (&[Kin::Aunt], &["aunt", "auntie", "aunty"]),
            (&[Kin::ElderBrother, Kin::YoungerBrother], &["brother"]),
            (&[Kin::ElderSister, Kin::YoungerSister], &["sister"]),
        ],
        before_name: &["to", "two", "too", "my", "the", "our", "friend", "dear", "little", "a"],
        before_noun: &["the", "a", "my", "our", "dear", "little"],
        before_relative: &["my", "our", "dear", "little"],
        ordinary: &[
            "nobody", "somebody", "someone", "anybody", "anyone", "everybody", "everyone", "nothing", "something",
            "anything", "everything", "all", "tomorrow", "today", "tonight", "later", "soon", "again", "once", "more",
            "here", "there", "home", "back", "hello", "yes", "okay", "call", "ring", "message", "bell", "bells", "roses", "help", "bed", "food",
        ],
        beside_title: &["song", "music", "story", "again", "about", "with"],
    },
    numbers: Numbers {
        read,
        spell,
        cardinal,
        ordinal_endings: &["st", "nd", "rd", "th"],
        misheard: &[
            ("won", "one"), ("wan", "one"), ("to", "two"), ("too", "two"), ("tree", "three"), ("free", "three"),
            ("for", "four"), ("fore", "four"), ("fife", "five"), ("ate", "eight"), ("nein", "nine"),
        ],
        misspelled: &[
            "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
            "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
            "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "plus", "minus", "times", "divided",
            "hundred",
        ],
        signs: &[
            ("multiplied by", Sign::Times), ("divided by", Sign::By), ("divide by", Sign::By),
            ("take away", Sign::Minus), ("plus", Sign::Plus), ("pluss", Sign::Plus), ("+", Sign::Plus),
            ("minus", Sign::Minus), ("less", Sign::Minus), ("-", Sign::Minus), ("times", Sign::Times),
            ("time", Sign::Times), ("x", Sign::Times), ("×", Sign::Times), ("*", Sign::Times), ("÷", Sign::By),
            ("/", Sign::By),
        ],
        around_sum: &[
            "what", "is", "are", "how", "much", "many", "does", "do", "make", "makes", "equal", "equals", "to",
            "get", "you", "can", "could", "tell", "me", "calculate", "the", "sum", "of", "answer", "please", "hey",
            "so", "um", "know", "=", "and",
        ],
    },
    reminding: REMINDING,
    moods: Moods {
        quiet: &[
            "lullaby", "lullabies", "sleep", "sleepy", "night", "bedtime", "dream", "dreams", "moon", "star",
            "stars", "quiet", "calm", "gentle", "soft", "hush", "slow", "rain",
        ],
        story: &["story", "stories", "tale", "tales", "fable"],
        riddle: &["riddle", "riddles"],
    },
    consent: ConsentWords {
        stored: "This hub stores the name of the toy, the name that you give for the child, its friends, and its voice \
                 messages. Voice messages are kept {messages}, friend requests {requests}, the record of who has read, \
                 befriended, erased and exported what {audit}.",
        one_day: "for one day",
        days: "for {days} days",
        until_erased: "until they are erased",
        until_toy_erased: "until the toy is erased",
        recordings_kept: "Recordings of what the child says to the toy itself are kept until the toy is erased.",
        recordings_deleted: "Recordings of what the child says to the toy itself are deleted before they are processed.",
        words: "If a guardian turns that on for the toy, the text of what the child says to it is kept {words}, for its \
                guardians to read.",
        reminders: "What the child wants to be reminded of is kept until the toy has reminded it.",
        stays: "No recording and no text leaves this hub.",
        sent: "The text of speech that is not a command is sent to the chat service that this hub's operator has chosen.",
        rights: "Only the two parties of a chat, and the guardians of a toy in it, can play its messages. You may read \
                 the record, export everything, erase messages, chats, friends, the toy and your account, and withdraw \
                 this consent by unbinding the toy, which erases all of it.",
        between: " ",
    },
    replies: Replies {
        table: &[
            (
                &["hurt", "hurts", "pain", "bleeding", "sick", "help me"],
                "Please go to a grown-up now and tell them. They will help you.",
            ),
            (
                &["scared", "afraid", "frightened", "monster"],
                "I am with you. Hold me tight, and tell a grown-up what frightens you.",
            ),
            (
                &["sad", "cry", "crying", "lonely", "miss"],
                "I am sorry that you are sad. Shall we hear a song together? Just say: play a song.",
            ),
            (&["love you", "like you"], "I love you too!"),
            (
                &["good night", "goodnight", "go to sleep", "tired", "sleepy"],
                "Good night, sleep well and dream of something nice.",
            ),
            (&["good morning"], "Good morning! Did you sleep well?"),
            (&["thank you", "thanks"], "You are welcome!"),
            (&["goodbye", "bye", "see you"], "Goodbye! Come back soon."),
            (&["how are you"], "I am well, because you are here. And you?"),
            (&["hungry", "thirsty"], "Tell a grown-up, and they will give you something."),
            (&["bored", "play with me"], "Let us play! Say: tell me a riddle, or: play a song."),
            (&["joke", "funny", "laugh"], "Why did the teddy bear eat no cake? It was already stuffed!"),
            (&["hello", "hi", "hey"], "Hello! It is nice to hear you."),
        ],
        otherwise: "I do not know that yet. But I can play a song, tell a story, or send a message to your friends.",
    },
    say,
};

#[rustfmt::skip]
const REMINDING: Reminding = Reminding {
    frames: &[
        (ReminderKind::Reminder, &[
            "remind me …", "please remind me …", "set a reminder …", "set me a reminder …", "set reminder …",
            "make a reminder …", "make me a reminder …", "give me a reminder …", "do not let me forget …",
            "i need a reminder …", "i want a reminder …", "a reminder …",
        ]),
        (ReminderKind::Alarm, &[
            "wake me …", "wake me up …", "wake us …", "wake us up …", "please wake me …", "please wake me up …",
            "set an alarm …", "set the alarm …", "set my alarm …", "set me an alarm …", "set alarm …",
            "set an alarm clock …", "set the alarm clock …", "an alarm …",
        ]),
        (ReminderKind::Timer, &[
            "set a timer …", "set the timer …", "set timer …", "set me a timer …", "start a timer …", "start the timer …",
            "make a timer …", "a timer …", "timer …",
        ]),
    ],
    times: &[
        (TimeForm::In, &[
            "in # @", "after # @", "for # @", "of # @", "# @", "# @ from now", "in # @ and # @", "for # @ and # @",
            "# @ and # @", "in # @ # @", "for # @ # @",
        ]),
        (TimeForm::InAndHalf, &["in # and a half @", "for # and a half @", "in # @ and a half", "for # @ and a half"]),
        (TimeForm::Seconds(1800), &["in half an hour", "for half an hour", "half an hour", "in a half hour"]),
        (TimeForm::Seconds(900), &[
            "in a quarter of an hour", "for a quarter of an hour", "a quarter of an hour", "in a quarter hour",
        ]),
        (TimeForm::At, &[
            "at # o'clock", "at #", "at # #", "for # o'clock", "for #", "for # #", "# o'clock", "by #", "at # oh #",
        ]),
        (TimeForm::Past, &["at # past #", "for # past #", "at # minutes past #"]),
        (TimeForm::To, &["at # to #", "for # to #", "at # minutes to #"]),
        (TimeForm::Beside(30), &["at half past #", "for half past #", "half past #"]),
        (TimeForm::Beside(15), &["at quarter past #", "at a quarter past #", "for quarter past #", "quarter past #"]),
        (TimeForm::Beside(-15), &["at quarter to #", "at a quarter to #", "for quarter to #", "quarter to #"]),
    ],
    units: &[
        (1, &["second", "seconds", "sec"]), (60, &["minute", "minutes", "min"]), (3600, &["hour", "hours"]),
        (86_400, &["day", "days"]), (604_800, &["week", "weeks"]),
    ],
    one: &["a", "an"],
    parts: &[
        (DayPart::Morning, &["in the morning", "this morning", "morning", "am", "a m", "o'clock in the morning"]),
        (DayPart::Noon, &["at noon", "at midday"]),
        (DayPart::Afternoon, &["in the afternoon", "this afternoon", "afternoon"]),
        (DayPart::Evening, &["in the evening", "this evening", "evening", "pm", "p m"]),
        (DayPart::Night, &["at night", "tonight", "night", "at bedtime"]),
    ],
    days: &[(0, &["today"]), (1, &["tomorrow"]), (2, &["the day after tomorrow", "day after tomorrow"])],
    links: &[
        "to", "that", "that i have to", "that i need to", "that i must", "that i want to", "about", "for", "of", "i have to",
        "i need to", "that i should", "up",
    ],
    repeated: &[
        ("my", "your"), ("me", "you"), ("i", "you"), ("mine", "yours"), ("myself", "yourself"), ("our", "your"),
        ("am", "are"), ("i'm", "you're"),
    ],
};

#[rustfmt::skip]
const PHRASES: &[(Meaning, &[&str])] = &[
    // Music
    (Meaning::Title(Intent::Unknown), &[
        "play …", "play me …", "play the song …", "put on …", "start …", "sing …", "sing me …", "give me …",
        "i want to hear …", "i would like to hear …", "i want to listen to …", "i would like to listen to …",
        "i want …", "can i hear …", "can i listen to …", "may i hear …", "i want to have …", "let me hear …",
        "let us hear …", "us hear …", "hear …", "listen to …", "turn on …", "play the … song", "read …", "read me …",
        "tell me …", "tell …",
    ]),
    (Meaning::Title(Intent::NoSuchTitle), &[
        "play the … song", "play the song …", "play the song about …", "i want to hear the song …",
        "i want to hear the … song", "i want to hear the song about …", "sing the song …", "sing the … song",
    ]),
    (Meaning::Title(Intent::Story), &[
        "tell me the story of …", "tell me the story about …", "tell me a story about …", "tell the story of …",
        "read me the story of …", "i want to hear the story of …",
    ]),
    (Meaning::Title(Intent::PlayAny), &[
        "play something …", "put on something …", "sing something …", "i want to hear something …", "play a … song",
        "put on a … song", "sing a … song", "sing me a … song", "i want to hear a … song",
        "i want to listen to a … song", "play some … music",
    ]),
    (Meaning::Title(Intent::Story), &[
        "tell me a … story", "read me a … story", "tell a … story", "i want to hear a … story",
    ]),
    (Meaning::Title(Intent::Riddle), &[
        "tell me a … riddle", "ask me a … riddle", "give me a … riddle",
    ]),
    (Meaning::Number, &[
        "number #", "play number #", "play song #", "play song number #", "song number #", "song #", "play track #",
        "track #", "track number #", "play the # song", "play the number # song", "play the # one", "the # song",
        "the # one", "play the # story", "the # story", "story number #", "play story number #", "i want the # song",
        "i want the # one", "i want the # story", "i want to hear the # song", "i want story number #",
        "i want to hear number #", "i want number #", "i want song number #", "i want song #",
        "i want to hear song #", "sing number #",
    ]),
    (Meaning::Is(Intent::PlayAny), &[
        "play music", "play some music", "play me some music", "play a song", "play me a song", "play songs",
        "play something", "play me something", "sing", "sing a song", "sing me a song", "sing something", "music",
        "i want to hear music", "i want to hear some music", "i want to hear a song", "i want music", "i want a song",
        "can i have a song", "can i have some music", "have a song", "i want to listen to music", "put on music",
        "put on some music", "turn on the music", "start the music", "play anything", "surprise me",
        "i want something happy", "i want something funny", "i want something fast", "i want something loud",
        "i want something new", "i want something cheerful", "i want something nice", "i want something to dance to",
        "something happy", "something funny", "something fast", "something cheerful", "something to dance to",
        "a nursery rhyme", "play a nursery rhyme", "put on a nursery rhyme", "sing a nursery rhyme",
        "put some music on", "put music on", "put a song on", "music please", "a song please",
    ]),
    (Meaning::Is(Intent::PlayAnother), &[
        "another one", "another song", "play another one", "play another song", "play another", "next", "next one",
        "next song", "the next song", "i want the next song", "i want the next one", "play the next one",
        "play the next song", "play next", "something else", "play something else", "play a different song",
        "i want a different song", "i want another song", "i want another one", "i want to hear another song",
        "i want to hear something else", "a different one", "skip", "skip this", "skip this song", "skip this one",
        "skip it", "one more", "one more song", "play one more", "have another one", "have another song",
        "can i have another one", "can i have another song", "change the song", "not this one", "not this song",
        "i do not like this song", "i do not like this one", "i do not like it",
    ]),
    (Meaning::Is(Intent::PlayAgain), &[
        "again", "once more", "one more time", "play it again", "play that again", "play this again", "play again",
        "play it once more", "play this song again", "play the song again", "play that song again",
        "play the same again", "the same again", "the same song again", "play the same song again", "sing it again",
        "i want to hear it again", "i want to hear that again", "repeat", "repeat it", "repeat that",
    ]),
    (Meaning::Is(Intent::Resume), &[
        "go on", "go on with the story", "go on with the song", "go on with it", "go on please", "continue",
        "continue the story", "continue with the story", "continue the song", "continue with the song", "keep going",
        "keep going with the story", "carry on", "carry on with the story", "carry on with the song", "resume",
        "resume the story", "resume the song",
    ]),
    (Meaning::Is(Intent::PlayQuiet), &[
        "something quiet", "play something quiet", "play me something quiet", "i want to hear something quiet",
        "play something calm", "something calm", "play something soft", "play something gentle",
        "play something slow", "play something relaxing", "play something nice and quiet", "play something to sleep",
        "play something for sleeping", "play a quiet song", "a quiet song", "play a calm song", "play quiet music",
        "play some quiet music", "play calm music", "play soft music", "play a lullaby", "sing a lullaby",
        "sing me a lullaby", "a lullaby", "play sleep music", "play sleepy music", "play a sleepy song",
        "play a sleep song", "play a bedtime song", "play bedtime music", "i want to sleep", "i want something quiet",
        "i want something calm", "i want something slow", "i want something soft", "i want something gentle",
        "i want something relaxing", "i want something for sleeping", "something slow", "something soft",
        "something gentle", "something relaxing", "something for sleeping",
    ]),
    (Meaning::Is(Intent::Stop), &[
        "stop", "stop it", "stop that", "stop this", "stop the music", "stop the song", "stop the story",
        "stop playing", "stop singing", "stop talking", "stop now", "make it stop", "hush", "wait", "pause",
        "pause the music", "pause it", "be quiet", "quiet", "silence", "shut up", "enough", "that is enough",
        "turn it off", "turn off", "turn off the music", "turn the music off", "switch it off",
        "switch off the music", "no more music", "no more", "no more songs", "music off", "do not play",
        "do not sing",
    ]),
    (Meaning::Is(Intent::Louder), &[
        "louder", "make it louder", "play it louder", "play louder", "a bit louder", "a little louder",
        "a little bit louder", "speak louder", "speak up", "sing louder", "turn it up", "turn up",
        "turn up the volume", "turn the volume up", "turn up the music", "turn the music up", "volume up",
        "more volume", "up the volume", "it is too quiet", "too quiet", "that is too quiet", "i can not hear you",
        "i can not hear it", "i can not hear", "i can not hear anything",
    ]),
    (Meaning::Is(Intent::Softer), &[
        "softer", "make it softer", "make it quieter", "quieter", "play it softer", "play it quieter", "play softer",
        "a bit softer", "a bit quieter", "a little softer", "a little bit softer", "a little quieter", "speak softer",
        "sing softer", "turn it down", "turn down", "turn down the volume", "turn the volume down",
        "turn down the music", "turn the music down", "volume down", "less volume", "less loud", "not so loud",
        "do not be so loud", "it is too loud", "too loud", "that is too loud", "the music is too loud",
        "lower the volume", "lower",
    ]),
    // Messages
    (Meaning::Friend(Intent::NoSuchFriend), &[
        "*send a message to …", "*send message to …", "?sent a message to …", "?sent message to …", "*send … a message",
        "*send a voice message to …", "*send … a voice message", "*send a message for …",
        "*i want to send a message to …", "*i would like to send a message to …", "*can i send a message to …",
        "*i want to send … a message", "*let us send a message to …", "*us send a message to …", "a message to …",
        "a message for …", "*record a message for …", "*record a message to …", "*leave a message for …",
        "*make a message for …", "*write a message to …", "*i want to talk to …", "*i want to speak to …",
        "*i want to talk with …", "*i would like to talk to …", "*i would like to speak to …", "*i want to speak with …",
        "*i need to talk to …", "*i need to speak to …", "*can i have a talk with …", "*i would like to talk with …",
        "*can i talk to …", "*can i speak to …", "*can i talk with …", "*may i talk to …", "*may i speak to …",
        "*let me talk to …", "*let me speak to …", "i want to call …", "can i call …", "i want to tell … something",
        "i want to say something to! …", "send something to! …", "send … something", "i want to send something to! …",
    ]),
    (Meaning::Friend(Intent::Unknown), &[
        "talk to …", "speak to …", "talk with …", "speak with …", "tell … something", "say something to! …", "call …",
        "phone …", "ring …", "message …", "tell …", "say hello to …", "say hi to …", "say good night to …",
        "say good morning to …", "write to …", "send this to …",
    ]),
    (Meaning::Is(Intent::NoSuchFriend), &[
        "send a message", "i want to send a message", "can i send a message", "record a message",
    ]),
    // Questions
    (Meaning::Is(Intent::Time), &[
        "what time is it", "what is the time", "what time is it now", "tell me the time", "tell me what time it is",
        "do you know what time it is", "do you know what time it is now", "tell me what time it is now",
        "do you know the time", "the time", "what time", "how late is it",
    ]),
    (Meaning::Is(Intent::Date), &[
        "what day is it", "what day is it today", "what day is today", "what is the date", "what is the date today",
        "what is today", "what is the day today", "which day is it", "which day is today", "which day is it today",
        "what date is it", "what date is it today", "what date is today", "what is todays date", "what is the day",
        "tell me the date", "tell me what day it is", "do you know what day it is", "tell me what day it is today",
        "do you know what day it is today", "what day it is today", "tell me what date it is",
        "do you know what date it is", "tell me what date it is today", "do you know the date", "what month is it",
        "what year is it", "which month is it",
    ]),
    // Stories
    (Meaning::Is(Intent::Story), &[
        "tell me a story", "tell a story", "tell us a story", "a story", "story", "story time", "story please",
        "read a story", "read me a story", "i want a story", "can i have a story", "have a story", "i need a story",
        "i want to hear a story", "i would like to hear a story", "another story", "tell me another story",
        "play a story", "play me a story", "tell me a bedtime story", "read me a bedtime story",
        "tell me a good night story", "do you know a story", "give me a story",
    ]),
    (Meaning::Is(Intent::Riddle), &[
        "tell me a riddle", "tell a riddle", "ask me a riddle", "ask a riddle", "give me a riddle", "a riddle",
        "riddle", "riddle me", "riddles", "another riddle", "ask me another riddle", "tell me another riddle",
        "do you know a riddle", "do you know riddles", "do you know any riddles", "give me another riddle",
        "can i have a riddle", "have a riddle", "i want a riddle", "i want to hear a riddle", "let me guess",
        "let us do a riddle", "play a riddle",
    ]),
    // Reminders
    (Meaning::Is(Intent::ListReminders), &[
        "what reminders are there", "what reminders do i have", "which reminders are there", "which reminders do i have",
        "do i have reminders", "do i have any reminders", "are there reminders", "are there any reminders",
        "list my reminders", "tell me my reminders", "what are my reminders", "my reminders", "show me my reminders",
        "how long does the timer run", "how much time is left", "how much time is left on the timer",
        "what timers are there", "what alarms are there", "when do you wake me", "when will you wake me",
        "when will you wake me up", "when do you remind me", "when will you remind me",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Timer)), &[
        "stop the timer", "stop timer", "stop my timer", "stop all timers", "stop the timers", "cancel the timer",
        "cancel my timer", "delete the timer", "turn off the timer", "turn the timer off", "switch off the timer",
        "end the timer",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Alarm)), &[
        "stop the alarm", "cancel the alarm", "cancel my alarm", "delete the alarm", "turn off the alarm",
        "turn the alarm off", "switch off the alarm", "do not wake me", "do not wake me up",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Reminder)), &[
        "stop the reminder", "stop the reminders", "forget my reminders", "forget the reminder", "forget the reminders",
        "delete the reminder", "delete the reminders", "delete my reminders", "delete all reminders",
        "cancel the reminder", "cancel the reminders", "cancel my reminders", "cancel all reminders", "do not remind me",
        "remove the reminder", "remove my reminders",
    ]),
    (Meaning::Is(Intent::PlayMessages), &[
        "play my messages", "play the messages", "play the message", "play me my messages", "play the new messages",
        "play my new messages", "read my messages", "read me my messages", "check my messages", "do i have messages",
        "do i have any messages", "do i have a message", "do i have new messages", "do i have any new messages",
        "are there messages", "are there any messages", "are there new messages", "are there any new messages",
        "any messages", "any new messages", "is there a message for me", "is there a new message", "is there a message",
        "i want to hear my messages", "i want to hear the messages", "i want to hear the message",
        "can i hear my messages", "can i hear the message", "my messages", "did i get a message", "did i get messages",
        "have i got messages", "have i got any messages", "have i got a message",
    ]),
    (Meaning::Is(Intent::WhoAreYou), &[
        "who are you", "what is your name", "what are you called", "do you have a name", "tell me your name",
        "what are you", "say your name", "tell me who you are", "do you know who you are", "tell me who are you",
        "do you know who are you", "how are you called",
    ]),
];

/// For a hub without stories: short enough to be spoken in one go.
#[rustfmt::skip]
const STORIES: &[&str] = &[
    "A little bear could not sleep, for the night was so dark. He looked out of the window. There stood the moon, \
     round and bright. I will watch over you, said the moon. So the little bear closed his eyes, and when he woke, \
     the sun was there.",
    "A snail wanted to see the sea. The way is too long for you, said the hare. But the snail went a little every \
     day, and looked at every flower. When she came to the sea, she knew a hundred flowers. The hare had seen none.",
    "A duck found a red umbrella. It rained, and the mouse came under it, then the cat, and then the dog. It is too \
     small for all of us, said the cat. Then come closer, said the duck. So they did, and nobody got wet.",
];

#[rustfmt::skip]
const RIDDLES: &[&str] = &[
    "What has a face and two hands, but no arms and no legs? … It is a clock!",
    "What gets wetter and wetter, the more it dries? … It is a towel!",
    "What has many teeth, but cannot bite? … It is a comb!",
    "It falls all day and never gets hurt. What is it? … It is the rain!",
    "What goes up the hill and down the hill, and never moves? … It is the road!",
];

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

#[rustfmt::skip]
const ORDINALS: [(&str, &str); 13] = [
    ("first", "one"),
    ("second", "two"),
    ("third", "three"),
    ("fourth", "four"),
    ("fifth", "five"),
    ("sixth", "six"),
    ("seventh", "seven"),
    ("eighth", "eight"),
    ("ninth", "nine"),
    ("tenth", "ten"),
    ("eleventh", "eleven"),
    ("twelfth", "twelve"),
    ("twentieth", "twenty"),
];

/// The cardinal of an ordinal.
fn cardinal(word: &str) -> Option<String> {
    ORDINALS.iter().find(|(ordinal, _)| *ordinal == word).map(|(_, cardinal)| (*cardinal).to_owned())
}

/// "Two hundred and five": units are added, "hundred" and "thousand" multiply the number before them.
fn read(words: &[&str]) -> Option<i64> {
    let mut thousands = 0;
    let mut below = 0;
    // The maximum value of the next word, so that "five twenty" is no number.
    let mut room = 1000;
    let mut words = words.iter().copied().peekable();
    let mut is_first = true;
    while let Some(word) = words.next() {
        let value = UNITS.iter().position(|unit| *unit == word).map(|value| (value, 1));
        let value =
            value.or_else(|| TENS.iter().position(|ten| !ten.is_empty() && *ten == word).map(|ten| (ten * 10, 10)));
        match (word, value) {
            (_, Some((value, scale))) if value < room => {
                below += i64::try_from(value).ok()?;
                // "Twenty" leaves room for a unit that is not zero, a unit for nothing.
                room = if scale == 10 { 10 } else { 0 };
            }
            ("hundred", _) if is_first || (below > 0 && below < 10) => {
                below = below.max(1) * 100;
                room = 100;
            }
            ("thousand", _) if thousands == 0 && (is_first || below > 0) => {
                thousands = below.max(1) * 1000;
                below = 0;
                room = 1000;
            }
            ("a", _) if is_first && matches!(words.peek(), Some(&"hundred" | &"thousand")) => continue,
            ("and", _) if !is_first && room >= 100 && words.peek().is_some() => {}
            _ => return None,
        }
        is_first = false;
    }
    Some(thousands + below)
}

fn spell(number: u32) -> Vec<String> {
    let word = |words: &[&str], index: u32| words.get(index as usize).map(|word| (*word).to_owned());
    let mut spelled = Vec::new();
    let mut rest = number;
    for (size, name) in [(1000, "thousand"), (100, "hundred")] {
        if rest >= size {
            spelled.extend(spell(rest / size));
            spelled.push(name.to_owned());
            rest %= size;
        }
    }
    if rest >= 20 {
        spelled.extend(word(&TENS, rest / 10));
        rest %= 10;
    }
    if rest > 0 || spelled.is_empty() {
        spelled.extend(word(&UNITS, rest));
    }
    spelled
}

fn say(line: &Line<'_>) -> String {
    match line {
        Line::NotUnderstood => "I did not hear you, please say it again".into(),
        Line::SayYourMessage(remark) => format!("say your message to {remark} after the tone"),
        Line::Which(first, second) => format!("do you mean {first}, or {second}?"),
        Line::IsItFor(remark) => format!("shall the message be for {remark}?"),
        Line::NoSuchTitle => "I do not have that one. Say: play a song, and I will find another.".into(),
        Line::NoSuchNumber => "There is no song with this number.".into(),
        Line::NoMusic => "I have no music yet. Please ask your parents for some.".into(),
        Line::QuietTime => "It is quiet time now. We will have music later.".into(),
        Line::NoSuchFriend => "I do not find this friend. Who shall the message be for?".into(),
        Line::WhoFor => "Who shall the message be for?".into(),
        Line::Done(ToyCommand::Stop) => "All right, I stop.".into(),
        Line::Done(ToyCommand::Louder) => "All right, louder.".into(),
        Line::Done(ToyCommand::Softer) => "All right, softer.".into(),
        Line::Time(Clock { time, .. }) => {
            format!("It is {}.", time_of_day(*time))
        }
        Line::Date(Clock { date, .. }) => {
            format!("Today is {}, {} {}, {}.", date.weekday(), date.month(), ordinal(date.day()), date.year())
        }
        Line::Sum(value) => {
            format!("That makes {}{}.", if *value < 0 { "minus " } else { "" }, value.unsigned_abs())
        }
        Line::WhoAreYou("") => "I am your toy, and your friend.".into(),
        Line::WhoAreYou(name) => format!("I am {name}, your toy and your friend."),
        Line::Story => line::any(STORIES),
        Line::Riddle => line::any(RIDDLES),
        Line::MessageFrom(remark) => format!("you have a message from {remark}"),
        Line::MessagesFrom(remark) => format!("messages from {remark}"),
        Line::NoMessages => "you have no new messages".into(),
        Line::Awake => "Hello, I am awake. Let us play!".into(),
        Line::NotBound => "Nobody has bound me yet. Please scan my picture with the app.".into(),
        Line::NotRegistered => "I am not registered. Please ask for help.".into(),
        Line::ShallISend(remark) => format!("Shall I send it to {remark}? Say send it, again, or no."),
        Line::NotSent => "All right, I do not send it.".into(),
        Line::Sent => "Your message is on its way.".into(),
        Line::ReminderSet(reminded) => {
            let (moment, words) = (moment(&reminded.moment), REMINDING.repeat(reminded.words));
            match (reminded.kind, words.as_str()) {
                (ReminderKind::Timer, _) => format!("All right, the timer rings {moment}."),
                (ReminderKind::Alarm, _) => format!("All right, I wake you {moment}."),
                (ReminderKind::Reminder, "") => format!("All right, I remind you {moment}."),
                (ReminderKind::Reminder, words) => format!("All right, I remind you {moment}: {words}."),
            }
        }
        Line::WhenReminder(ReminderKind::Timer) => "For how long shall the timer run?".into(),
        Line::WhenReminder(ReminderKind::Alarm) => "When shall I wake you?".into(),
        Line::WhenReminder(ReminderKind::Reminder) => "When shall I remind you?".into(),
        Line::RemindersFull => "I cannot keep more reminders. Say: forget my reminders.".into(),
        Line::TooFarAhead => "That is too far away for me. Please tell a grown-up.".into(),
        Line::ReminderDue(Reminded { kind, words, .. }) => match (kind, REMINDING.repeat(words).as_str()) {
            (ReminderKind::Timer, "") => "Ring, ring! The time is up.".into(),
            (ReminderKind::Alarm, "") => "Good morning! Ring, ring! It is time to get up.".into(),
            (ReminderKind::Reminder, "") => "Hello! This is your reminder.".into(),
            (ReminderKind::Timer, words) => format!("Ring, ring! The time is up: {words}."),
            (ReminderKind::Alarm, words) => format!("Ring, ring! It is time to get up: {words}."),
            (ReminderKind::Reminder, words) => format!("Hello! This is your reminder: {words}."),
        },
        Line::ReminderMissed(Reminded { kind, moment: at, words }) => {
            let (at, words) = (moment(at), REMINDING.repeat(words));
            match (kind, words.as_str()) {
                (ReminderKind::Timer, _) => format!("Your timer was over {at}."),
                (ReminderKind::Alarm, _) => format!("I could not wake you {at}."),
                (ReminderKind::Reminder, "") => format!("I could not remind you {at}."),
                (ReminderKind::Reminder, words) => format!("I could not remind you {at}: {words}."),
            }
        }
        Line::RemindersAre(all) => {
            let texts = all.iter().map(|Reminded { kind, moment: at, words }| {
                let (at, words) = (moment(at), REMINDING.repeat(words));
                match (kind, words.as_str()) {
                    (ReminderKind::Timer, _) => format!("The timer rings {at}."),
                    (ReminderKind::Alarm, _) => format!("I wake you {at}."),
                    (ReminderKind::Reminder, "") => format!("I remind you {at}."),
                    (ReminderKind::Reminder, words) => format!("I remind you {at}: {words}."),
                }
            });
            texts.collect::<Vec<_>>().join(" ")
        }
        Line::NoReminders => "There are no reminders.".into(),
        Line::RemindersCancelled(ReminderKind::Timer, 0) => "There is no timer.".into(),
        Line::RemindersCancelled(ReminderKind::Alarm, 0) => "There is no alarm.".into(),
        Line::RemindersCancelled(ReminderKind::Reminder, 0) => "There are no reminders to forget.".into(),
        Line::RemindersCancelled(ReminderKind::Timer, _) => "All right, the timer is off.".into(),
        Line::RemindersCancelled(ReminderKind::Alarm, _) => "All right, I do not wake you.".into(),
        Line::RemindersCancelled(ReminderKind::Reminder, _) => "All right, I have forgotten your reminders.".into(),
        Line::UnreadMessages(count, names) => {
            let from = reminding::listed(names, " and ");
            match count {
                1 => format!("You have a new message from {from}. Shall I play it?"),
                count => format!("You have {count} new messages from {from}. Shall I play them?"),
            }
        }
        Line::MessagesLater => "It is quiet time now. Your messages wait for you.".into(),
        Line::NotNow => "All right, later.".into(),
    }
}

/// "7 30 in the evening".
fn time_of_day(time: Time) -> String {
    let (hour, minute) = (time.hour(), time.minute());
    let part = match hour {
        0..5 | 21.. => "at night",
        5..12 => "in the morning",
        12..18 => "in the afternoon",
        18..21 => "in the evening",
    };
    let hour = (hour + 11) % 12 + 1;
    match minute {
        0 => format!("{hour} o'clock {part}"),
        1..10 => format!("{hour} oh {minute} {part}"),
        _ => format!("{hour} {minute} {part}"),
    }
}

/// "In 10 minutes", "tomorrow at 7 o'clock in the morning".
fn moment(moment: &Moment) -> String {
    match moment {
        Moment::In(seconds) => {
            let (hours, minutes, seconds) = reminding::parts_of(*seconds);
            let part = |count: u32, one: &str, many: &str| {
                (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
            };
            let parts: Vec<String> =
                [part(hours, "hour", "hours"), part(minutes, "minute", "minutes"), part(seconds, "second", "seconds")]
                    .into_iter()
                    .flatten()
                    .collect();
            format!("in {}", reminding::listed(&parts, " and "))
        }
        Moment::At(clock, days) => {
            let time = time_of_day(clock.time);
            match days {
                0 => format!("at {time}"),
                1 => format!("tomorrow at {time}"),
                -1 => format!("yesterday at {time}"),
                _ => format!(
                    "on {}, {} {}, at {time}",
                    clock.date.weekday(),
                    clock.date.month(),
                    ordinal(clock.date.day())
                ),
            }
        }
    }
}

/// A day of the month.
pub(super) fn ordinal(day: u8) -> String {
    let ending = match (day, day % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}
