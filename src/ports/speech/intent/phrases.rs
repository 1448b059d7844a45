//! The phrases, and what each of them means. To teach the toy a new way to say something, add it here.
//!
//! `…` stands for a title or a friend's name, `#` for a number. Words are matched loosely, by spelling and by sound,
//! and courtesy around them ("please", "can you") need not be listed.

use std::sync::LazyLock;

use super::score::{self, Spelling};
use super::words::{self, Word};
use super::{FRAME_LIKENESS_MIN, Intent};

/// What a phrase of the table means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Just this.
    Is(Intent),
    /// Play the title of the number at `#`.
    Number,
    /// Play the title at `…`; if there is none like it, this.
    Title(Intent),
    /// Start a message to the friend at `…`; if there is none like it, this.
    Friend(Intent),
}

#[rustfmt::skip]
const TABLE: &[(Meaning, &[&str])] = &[
    // Music
    (Meaning::Title(Intent::Unknown), &[
        "play …", "play me …", "play the song …", "put on …", "start …", "sing …", "sing me …", "give me …",
        "i want to hear …", "i would like to hear …", "i want to listen to …", "i would like to listen to …", "i want …",
        "can i hear …", "can i listen to …", "may i hear …", "i want to have …", "let me hear …", "let us hear …", "us hear …", "hear …", "listen to …", "turn on …", "play the … song",
        "read …", "read me …", "tell me …", "tell …",
        "播放…", "播…", "放…", "放一首…", "放首…", "给我放…", "来一首…", "来首…", "唱…", "唱一首…", "给我唱…", "给我唱一首…",
        "我想听…", "我要听…", "想听…", "听…", "我想听歌…", "讲…", "给我讲…",
    ]),
    (Meaning::Title(Intent::NoSuchTitle), &[
        "play the … song", "play the song …", "play the song about …", "i want to hear the song …",
        "i want to hear the … song", "i want to hear the song about …", "sing the song …", "sing the … song",
        "播放歌曲…", "我想听…这首歌", "放…这首歌", "播放…这首歌",
    ]),
    (Meaning::Title(Intent::Story), &[
        "tell me the story of …", "tell me the story about …", "tell me a story about …", "tell the story of …",
        "read me the story of …", "i want to hear the story of …",
        "讲…的故事", "给我讲…的故事", "我想听…的故事",
    ]),
    (Meaning::Title(Intent::PlayAny), &[
        "play something …", "put on something …", "sing something …", "i want to hear something …", "play a … song", "put on a … song",
        "sing a … song", "sing me a … song", "i want to hear a … song", "i want to listen to a … song", "play some … music", "放点…的歌",
    ]),
    (Meaning::Title(Intent::Story), &["tell me a … story", "read me a … story", "tell a … story", "i want to hear a … story", "讲一个…的故事"]),
    (Meaning::Title(Intent::Riddle), &["tell me a … riddle", "ask me a … riddle", "give me a … riddle"]),
    (Meaning::Number, &[
        "number #", "play number #", "play song #", "play song number #", "song number #", "song #", "play track #",
        "track #", "track number #", "play the # song", "play the number # song", "play the # one", "the # song", "the # one", "play the # story", "the # story", "story number #", "play story number #",
        "i want the # song", "i want the # one", "i want the # story", "i want to hear the # song", "i want story number #",
        "i want to hear number #", "i want number #", "i want song number #", "i want song #", "i want to hear song #", "sing number #",
        "第#首", "第#首歌", "播放第#首", "播放第#首歌", "放第#首", "放第#首歌", "我想听第#首", "我要听第#首", "我想听第#首歌", "唱第#首歌",
        "第#个", "播放第#个", "放第#个",
    ]),
    (Meaning::Is(Intent::PlayAny), &[
        "play music", "play some music", "play me some music", "play a song", "play me a song", "play songs",
        "play something", "play me something", "sing", "sing a song", "sing me a song", "sing something", "music",
        "i want to hear music", "i want to hear some music", "i want to hear a song", "i want music", "i want a song", "can i have a song", "can i have some music", "have a song",
        "i want to listen to music", "put on music", "put on some music", "turn on the music", "start the music",
        "play anything", "surprise me", "i want something happy", "i want something funny", "i want something fast", "i want something loud",
        "i want something new", "i want something cheerful", "i want something nice", "i want something to dance to", "something happy", "something funny",
        "something fast", "something cheerful", "something to dance to", "a nursery rhyme", "play a nursery rhyme", "put on a nursery rhyme", "sing a nursery rhyme",
        "put some music on", "put music on", "put a song on", "music please", "a song please",
        "播放音乐", "放音乐", "放点音乐", "放歌", "放首歌", "放一首歌", "唱歌", "唱首歌", "唱一首歌", "给我唱首歌", "给我放首歌",
        "我想听歌", "我要听歌", "我想听音乐", "我要听音乐", "听歌", "听音乐", "来首歌", "来一首歌", "来点音乐",
    ]),
    (Meaning::Is(Intent::PlayAnother), &[
        "another one", "another song", "play another one", "play another song", "play another", "next", "next one",
        "next song", "the next song", "i want the next song", "i want the next one", "play the next one", "play the next song", "play next", "something else",
        "play something else", "play a different song", "i want a different song", "i want another song",
        "i want another one", "i want to hear another song", "i want to hear something else", "a different one",
        "skip", "skip this", "skip this song", "skip this one", "skip it", "one more", "one more song", "play one more",
        "have another one", "have another song", "can i have another one", "can i have another song",
        "change the song", "not this one", "not this song", "i do not like this song", "i do not like this one",
        "i do not like it",
        "换一首", "换一首歌", "换首歌", "换一个", "换一首吧", "换歌", "下一首", "下一首歌", "下一个", "再来一首", "再放一首", "再唱一首",
        "播放下一首", "放下一首", "别的歌", "放别的歌", "我想听别的",
    ]),
    (Meaning::Is(Intent::PlayAgain), &[
        "again", "once more", "one more time", "play it again", "play that again", "play this again", "play again", "play it once more",
        "play this song again", "play the song again", "play that song again", "play the same again", "the same again", "the same song again",
        "play the same song again", "sing it again", "i want to hear it again", "i want to hear that again", "repeat", "repeat it", "repeat that",
        "再来一遍", "再放一遍", "再唱一遍", "再听一遍", "我想再听一遍", "我还想听", "再说一遍", "重复", "重放",
    ]),
    (Meaning::Is(Intent::PlayQuiet), &[
        "something quiet", "play something quiet", "play me something quiet", "i want to hear something quiet",
        "play something calm", "something calm", "play something soft", "play something gentle", "play something slow",
        "play something relaxing", "play something nice and quiet", "play something to sleep", "play something for sleeping", "play a quiet song",
        "a quiet song", "play a calm song", "play quiet music", "play some quiet music", "play calm music",
        "play soft music", "play a lullaby", "sing a lullaby", "sing me a lullaby", "a lullaby", "play sleep music",
        "play sleepy music", "play a sleepy song", "play a sleep song", "play a bedtime song", "play bedtime music",
        "i want to sleep", "i want something quiet", "i want something calm", "i want something slow", "i want something soft", "i want something gentle",
        "i want something relaxing", "i want something for sleeping", "something slow", "something soft", "something gentle", "something relaxing",
        "something for sleeping",
        "安静的", "放安静的", "放点安静的", "来点安静的", "来一首安静的", "来一首安静的歌", "放一首安静的歌", "放安静的歌", "放安静的音乐",
        "放点安静的音乐", "我想听安静的", "我想听安静的歌", "我想听安静的音乐", "播放安静的音乐", "播放安静的歌", "放摇篮曲", "播放摇篮曲",
        "唱摇篮曲", "我想听摇篮曲", "我要睡觉了", "我想睡觉",
    ]),
    (Meaning::Is(Intent::Stop), &[
        "stop", "stop it", "stop that", "stop this", "stop the music", "stop the song", "stop the story", "stop playing",
        "stop singing", "stop talking", "stop now", "make it stop", "hush", "wait", "pause", "pause the music", "pause it", "be quiet", "quiet",
        "silence", "shut up", "enough", "that is enough", "turn it off", "turn off", "turn off the music",
        "turn the music off", "switch it off", "switch off the music", "no more music", "no more", "no more songs",
        "music off", "do not play", "do not sing",
        "停", "停下", "停下来", "停一下", "停止", "停止播放", "暂停", "别唱了", "别放了", "别说了", "别说话了", "别说话", "不要说话", "别讲了", "别播了", "不要唱了", "不要放了",
        "不要说了", "不听了", "我不听了", "不要再唱了", "关掉", "关掉音乐", "关了", "安静", "安静点", "安静一点", "闭嘴", "够了",
    ]),
    (Meaning::Is(Intent::Louder), &[
        "louder", "make it louder", "play it louder", "play louder", "a bit louder", "a little louder", "a little bit louder", "speak louder",
        "speak up", "sing louder", "turn it up", "turn up", "turn up the volume", "turn the volume up",
        "turn up the music", "turn the music up", "volume up", "more volume", "up the volume", "it is too quiet",
        "too quiet", "that is too quiet", "i can not hear you", "i can not hear it", "i can not hear", "i can not hear anything",
        "大声", "大声点", "大声一点", "再大声一点", "大点声", "大一点声", "声音大一点", "声音大点", "声音再大一点", "音量大一点", "音量大点",
        "调大声音", "调大音量", "把声音调大", "把声音开大", "开大声", "开大声一点", "声音太小了", "太小声了", "我听不见", "听不见", "我听不到",
        "听不到", "音量加大", "加大音量",
    ]),
    (Meaning::Is(Intent::Softer), &[
        "softer", "make it softer", "make it quieter", "quieter", "play it softer", "play it quieter", "play softer",
        "a bit softer", "a bit quieter", "a little softer", "a little bit softer", "a little quieter", "speak softer", "sing softer",
        "turn it down", "turn down", "turn down the volume", "turn the volume down", "turn down the music",
        "turn the music down", "volume down", "less volume", "less loud", "not so loud", "do not be so loud",
        "it is too loud", "too loud", "that is too loud", "the music is too loud", "lower the volume", "lower",
        "小声", "小声点", "小声一点", "再小声一点", "小点声", "小一点声", "声音小一点", "声音小点", "声音再小一点", "音量小一点", "音量小点",
        "调小声音", "调小音量", "把声音调小", "把声音关小", "关小声", "开小声一点", "声音太大了", "太大声了", "太吵了", "音量减小", "轻一点", "轻点",
        "声音轻一点",
    ]),
    // Messages
    (Meaning::Friend(Intent::NoSuchFriend), &[
        "send a message to …", "send message to …", "sent a message to …", "sent message to …", "send … a message", "send a voice message to …",
        "send … a voice message", "send a message for …", "i want to send a message to …",
        "i would like to send a message to …", "can i send a message to …", "i want to send … a message",
        "let us send a message to …", "us send a message to …", "a message to …", "a message for …",
        "record a message for …", "record a message to …", "leave a message for …", "make a message for …",
        "write a message to …", "i want to talk to …", "i want to speak to …", "i want to talk with …",
        "i would like to talk to …", "i would like to speak to …", "i want to speak with …", "i need to talk to …", "i need to speak to …", "can i have a talk with …", "i would like to talk with …", "can i talk to …", "can i speak to …",
        "can i talk with …", "may i talk to …", "may i speak to …", "let me talk to …", "let me speak to …",
        "i want to call …", "can i call …", "i want to tell … something", "i want to say something to …", "send something to …",
        "send … something", "i want to send something to …",
        "给…发消息", "给…发个消息", "给…发一个消息", "给…发一条消息", "给…发条消息", "给…发信息", "给…发语音", "给…发个语音", "给…留言",
        "给…留个言", "我要给…发消息", "我想给…发消息", "我要给…发语音", "我想给…发语音", "发消息给…", "发个消息给…", "发一条消息给…", "发信息给…",
        "发语音给…", "我要发消息给…", "我想发消息给…", "我要跟…说话", "我要和…说话", "我想跟…说话", "我想和…说话", "我要跟…讲话", "我想跟…讲话",
        "我要和…聊天", "我想和…聊天", "我要跟…聊天", "我想跟…聊天", "我要找…说话", "我想找…聊天",
    ]),
    (Meaning::Friend(Intent::Unknown), &[
        "talk to …", "speak to …", "talk with …", "speak with …", "tell … something", "say something to …", "call …", "phone …", "ring …", "message …", "tell …",
        "say hello to …", "say hi to …", "say good night to …", "say good morning to …", "write to …",
        "send this to …",
        "告诉…", "跟…说", "和…说", "对…说", "跟…说话", "和…说话", "打电话给…", "给…打电话", "我要给…打电话", "我想给…打电话", "呼叫…",
        "问问…", "跟…说一声", "帮我告诉…",
    ]),
    (Meaning::Is(Intent::NoSuchFriend), &[
        "send a message", "i want to send a message", "can i send a message", "record a message", "发消息", "发个消息", "我要发消息",
        "我想发消息",
    ]),
    // Questions
    (Meaning::Is(Intent::Time), &[
        "what time is it", "what is the time", "what time is it now", "tell me the time", "tell me what time it is",
        "do you know what time it is", "do you know what time it is now", "tell me what time it is now", "do you know the time", "the time", "what time", "how late is it",
        "几点", "几点了", "几点钟", "几点钟了", "现在几点", "现在几点了", "现在几点钟", "现在是几点", "现在什么时间", "什么时间了", "现在什么时候",
        "告诉我时间", "告诉我现在几点", "你知道现在几点吗",
    ]),
    (Meaning::Is(Intent::Date), &[
        "what day is it", "what day is it today", "what day is today", "what is the date", "what is the date today",
        "what is today", "what is the day today", "which day is it", "which day is today", "which day is it today",
        "what date is it", "what date is it today", "what date is today", "what is todays date", "what is the day",
        "tell me the date", "tell me what day it is", "do you know what day it is", "tell me what day it is today",
        "do you know what day it is today", "what day it is today", "tell me what date it is", "do you know what date it is", "tell me what date it is today",
        "do you know the date", "what month is it",
        "what year is it", "which month is it",
        "今天星期几", "今天是星期几", "今天几号", "今天是几号", "今天几月几号", "今天是几月几号", "今天周几", "今天礼拜几", "今天是什么日子", "星期几",
        "几月几号", "现在是几月", "今天是哪一天",
    ]),
    // Stories
    (Meaning::Is(Intent::Story), &[
        "tell me a story", "tell a story", "tell us a story", "a story", "story", "story time", "story please",
        "read a story", "read me a story", "i want a story", "can i have a story", "have a story", "i need a story", "i want to hear a story", "i would like to hear a story",
        "another story", "tell me another story", "play a story", "play me a story", "tell me a bedtime story",
        "read me a bedtime story", "tell me a good night story", "do you know a story", "give me a story",
        "讲故事", "讲个故事", "讲一个故事", "给我讲故事", "给我讲个故事", "给我讲一个故事", "说个故事", "说一个故事", "我想听故事", "我要听故事",
        "听故事", "来个故事", "再讲一个故事", "再讲一个", "讲个睡前故事", "给我讲个睡前故事", "放个故事", "播放故事",
    ]),
    (Meaning::Is(Intent::Riddle), &[
        "tell me a riddle", "tell a riddle", "ask me a riddle", "ask a riddle", "give me a riddle", "a riddle",
        "riddle", "riddle me", "riddles", "another riddle", "ask me another riddle", "tell me another riddle",
        "do you know a riddle", "do you know riddles", "do you know any riddles", "give me another riddle", "can i have a riddle", "have a riddle", "i want a riddle", "i want to hear a riddle", "let me guess",
        "let us do a riddle", "play a riddle",
        "猜谜语", "猜谜", "猜个谜语", "猜一个谜语", "来个谜语", "出个谜语", "出一个谜语", "给我出个谜语", "给我出一个谜语", "说个谜语", "讲个谜语",
        "我想猜谜语", "我要猜谜语", "再来一个谜语", "谜语",
    ]),
    (Meaning::Is(Intent::WhoAreYou), &[
        "who are you", "what is your name", "what are you called", "do you have a name", "tell me your name",
        "what are you", "say your name", "tell me who you are", "do you know who you are", "tell me who are you", "do you know who are you", "how are you called",
        "你是谁", "你是什么", "你叫什么", "你叫什么名字", "你的名字是什么", "你的名字叫什么", "你有名字吗", "告诉我你是谁", "告诉我你的名字",
    ]),
];

/// The answers to "do you mean the first or the second?"
#[rustfmt::skip]
const CHOICES: &[(bool, &[&str])] = &[
    (true, &[
        "the first", "the first one", "first", "number one", "one", "第一个", "第一", "前面的", "前面那个", "前一个",
    ]),
    (false, &[
        "the second", "the second one", "second", "number two", "two", "the last one", "the other one",
        "第二个", "第二", "后面的", "后面那个", "后一个",
    ]),
];

/// A phrase of the table, ready to be matched.
#[derive(Debug)]
pub(super) struct Phrase {
    pub(super) meaning: Meaning,
    /// All of it, or what stands before the name or number.
    pub(super) before: Vec<Word>,
    /// The letters of that.
    pub(super) letters: String,
    /// What stands after it.
    after: Vec<Word>,
    /// Whether the "to" before the name must be heard, where other small words may be lost: "say something funny" is
    /// for nobody.
    needs_to: bool,
}

/// The words in the place of the name or number, and how well the words around it fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) words: &'a [Word],
    pub(super) likeness: f64,
}

impl Phrase {
    fn new(meaning: Meaning, text: &str) -> Self {
        let (before, after) = text.split_once(['…', '#']).unwrap_or((text, ""));
        let before = words::words(before);
        let letters = before.iter().map(|word| word.text.as_str()).collect();
        let needs_to = before.iter().rev().map(|word| word.text.as_str()).take(2).eq(["to", "something"]);
        Self { meaning, before, letters, after: words::words(after), needs_to }
    }

    /// Where in `sentence` the name or number may stand: behind what is before it, at the sentence's beginning, and
    /// before what is after it, the nearest.
    pub(super) fn slot<'a>(&self, sentence: &'a [Word]) -> Option<Slot<'a>> {
        let spelling = if matches!(self.meaning, Meaning::Friend(_)) { Spelling::Strict } else { Spelling::Loose };
        let (start, before) = best_length(sentence, &self.before, spelling)?;
        if self.needs_to && sentence.get(..start)?.last().is_none_or(|word| word.text != "to") {
            return None;
        }
        // "number number ten": the last word was only said twice.
        let last = sentence.get(..start)?.last();
        let repeats = sentence.get(start..)?.iter().take_while(|word| last.is_some_and(|last| last.text == word.text));
        let rest = sentence.get(start + repeats.count()..)?;
        if self.after.is_empty() {
            return (!rest.is_empty()).then_some(Slot { words: rest, likeness: before });
        }
        (1..rest.len()).find_map(|length| {
            let (_, after) = best_length(rest.get(length..)?, &self.after, spelling)?;
            Some(Slot { words: rest.get(..length)?, likeness: (before + after) / 2.0 })
        })
    }
}

/// How many of the first words are most like the `phrase`, if they are enough.
fn best_length(words: &[Word], phrase: &[Word], spelling: Spelling) -> Option<(usize, f64)> {
    if phrase.is_empty() {
        return Some((0, 1.0));
    }
    let lengths = phrase.len().saturating_sub(2).max(1)..=(phrase.len() + 2).min(words.len());
    let scored =
        lengths.filter_map(|length| Some((length, score::phrase_likeness(words.get(..length)?, phrase, spelling))));
    scored
        .filter(|(_, likeness)| *likeness >= FRAME_LIKENESS_MIN)
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
}

/// The table.
pub(super) fn table() -> &'static [Phrase] {
    static PHRASES: LazyLock<Vec<Phrase>> = LazyLock::new(|| {
        TABLE.iter().flat_map(|(meaning, texts)| texts.iter().map(|text| Phrase::new(*meaning, text))).collect()
    });
    &PHRASES
}

/// Whether the first or the second was chosen.
pub(super) fn choice(spoken: &[Word]) -> Option<bool> {
    let spoken = words::without_courtesy(spoken);
    let is_said =
        |text: &&str| score::phrase_likeness(spoken, &words::words(text), Spelling::Loose) >= FRAME_LIKENESS_MIN;
    CHOICES.iter().find(|(_, texts)| texts.iter().any(is_said)).map(|(is_first, _)| *is_first)
}
