//! The hub's own replies: a few kind sentences for what small children say, and no knowledge of the world.

use super::{ReplyEngine, Replying};

/// Replies without any network.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltIn;

/// Words of which one must be said, and the reply in English and in Chinese. The first row that fits is taken.
#[rustfmt::skip]
const TABLE: &[(&[&str], &str, &str)] = &[
    (&["hurt", "hurts", "pain", "bleeding", "sick", "help me", "疼", "痛", "受伤", "流血", "不舒服", "救命"],
     "Please go to a grown-up now and tell them. They will help you.",
     "请马上去告诉大人，他们会帮助你的。"),
    (&["scared", "afraid", "frightened", "monster", "害怕", "怕", "怪物"],
     "I am with you. Hold me tight, and tell a grown-up what frightens you.",
     "我陪着你。抱紧我，把你害怕的事告诉爸爸妈妈。"),
    (&["sad", "cry", "crying", "lonely", "miss", "难过", "伤心", "哭", "想妈妈", "想爸爸"],
     "I am sorry that you are sad. Shall we hear a song together? Just say: play a song.",
     "别难过，我在这里。我们一起听首歌吧，对我说：放首歌。"),
    (&["love you", "like you", "爱你", "喜欢你"], "I love you too!", "我也爱你！"),
    (&["good night", "goodnight", "go to sleep", "tired", "sleepy", "晚安", "困了", "睡觉"],
     "Good night, sleep well and dream of something nice.",
     "晚安，祝你做个好梦。"),
    (&["good morning", "早上好", "早安"], "Good morning! Did you sleep well?", "早上好！你睡得好吗？"),
    (&["thank you", "thanks", "谢谢"], "You are welcome!", "不客气！"),
    (&["goodbye", "bye", "see you", "再见", "拜拜"], "Goodbye! Come back soon.", "再见，下次再来找我玩！"),
    (&["how are you", "你好吗"], "I am well, because you are here. And you?", "我很好，因为有你在。你呢？"),
    (&["hungry", "thirsty", "饿", "渴"], "Tell a grown-up, and they will give you something.", "去告诉爸爸妈妈吧，他们会给你准备的。"),
    (&["bored", "play with me", "无聊", "陪我玩"],
     "Let us play! Say: tell me a riddle, or: play a song.",
     "我们来玩吧！对我说：出个谜语，或者：放首歌。"),
    (&["joke", "funny", "laugh", "笑话"],
     "Why did the teddy bear eat no cake? It was already stuffed!",
     "小熊为什么不吃蛋糕？因为它肚子里已经塞满棉花啦！"),
    (&["hello", "hi", "hey", "你好", "您好"], "Hello! It is nice to hear you.", "你好！很高兴听到你的声音。"),
];

const OTHERWISE: (&str, &str) = (
    "I do not know that yet. But I can play a song, tell a story, or send a message to your friends.",
    "这个我还不知道。不过我会放歌、讲故事，还会给你的朋友发消息。",
);

impl BuiltIn {
    fn text(question: &str) -> &'static str {
        let is_chinese = question.chars().any(|letter| ('\u{3400}'..='\u{9fff}').contains(&letter));
        // Whole words only: "hi" is not in "this". Chinese has no spaces between its own.
        let plain: String = question.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
        let plain = format!(" {} ", plain.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" "));
        let is_said =
            |word: &&str| if word.is_ascii() { plain.contains(&format!(" {word} ")) } else { plain.contains(*word) };
        let found = TABLE.iter().find(|(words, ..)| words.iter().any(&is_said));
        let (english, chinese) = found.map_or(OTHERWISE, |(_, english, chinese)| (*english, *chinese));
        if is_chinese { chinese } else { english }
    }
}

impl ReplyEngine for BuiltIn {
    fn reply<'a>(&'a self, question: &'a str) -> Replying<'a> {
        let text = Self::text(question).to_owned();
        Box::pin(async { Ok(text) })
    }
}
