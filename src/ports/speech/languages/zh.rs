//! Mandarin Chinese, in simplified characters.

use time::Time;

use super::line::{self, Clock, Line, Moment, Reminded};
use super::meaning::{DraftWish, Intent, Meaning};
use super::reminding::{self, DayPart, Reminding, TimeForm};
use super::{ConsentWords, Kin, Language, Moods, NameWords, Numbers, Replies, Script, Sign, SmallWords, Sound};
use crate::model::{ReminderKind, ToyCommand};

/// Mandarin Chinese.
#[rustfmt::skip]
pub static CHINESE: Language = Language {
    code: "zh",
    voice: "en",
    script: Script::Chinese,
    sound: Sound::Pinyin,
    phrases: PHRASES,
    choices: &[
        (true, &[
            "第一个", "第一", "前面的", "前面那个", "前一个",
        ]),
        (false, &[
            "第二个", "第二", "后面的", "后面那个", "后一个",
        ]),
    ],
    answers: &[
        (true, &[
            "是", "是的", "对", "对的", "好", "好的", "嗯", "没错",
        ]),
        (false, &[
            "不是", "不", "不对", "不要", "错了", "没有",
        ]),
    ],
    drafts: &[
        (DraftWish::Send, &["发送", "发吧", "发出去", "发给他", "发给她", "送出去", "可以发", "好的发吧", "发"]),
        (DraftWish::Again, &["重新说", "再说一遍", "再来一遍", "重来", "重新录", "再录一遍", "重说"]),
        (DraftWish::Play, &["听一下", "放一下", "我想听", "播放", "先听听", "我说了什么", "听听看"]),
        (DraftWish::Drop, &["不发", "不要发", "别发", "删掉", "取消", "算了", "不发了"]),
    ],
    small_words: SmallWords {
        short_forms: &[],
        same: &[
            ("两", "二"),
        ],
        light: &[
            "的", "了", "吧", "吗", "啊", "呢", "呀", "个", "一", "我", "给", "请", "你", "来", "是", "点", "条",
            "首",
        ],
        turning: &["不", "没", "别", "他", "她", "谁", "为", "昨"],
        negations: &[],
        retractions: &["不", "没", "别"],
        before_answer: &["给", "是", "对", "我", "的", "说", "要"],
        courtesy_before: &[
            "请", "请你", "帮我", "麻烦", "麻烦你", "你能", "你可以", "你能不能", "能不能", "可以", "可不可以", "嗯",
            "喂", "嗨", "你好", "那个", "哎", "我们来", "我们",
        ],
        courtesy_after: &["吧", "吗", "啊", "呀", "呢", "嘛", "谢谢", "好吗", "好不好"],
        joining: &["然后", "那么", "所以", "但是", "而且", "因为"],
        greetings: &["你好", "嗨", "喂"],
        other_characters: "給给發发個个條条訊讯說说話话講讲聽听點点請请們们誰谁幾几現现謎谜語语聲声關关樂乐嗎吗來来麼么樣样號号禮礼媽妈\
    爺爷對对問问間间時时減减於于兩两隻只開开換换別别還还過过這这歡欢搖摇籃篮靜静覺觉閉闭暫暂調调電电訴诉題题",
    },
    names: NameWords {
        kin: &[
            (&[Kin::Mother], &["妈妈", "妈", "老妈", "妈咪"]),
            (&[Kin::Father], &["爸爸", "爸", "老爸", "爹地"]),
            (&[Kin::FathersMother], &["奶奶"]),
            (&[Kin::MothersMother], &["外婆", "姥姥"]),
            (&[Kin::FathersFather], &["爷爷"]),
            (&[Kin::MothersFather], &["外公", "姥爷"]),
            (&[Kin::ElderBrother], &["哥哥"]),
            (&[Kin::YoungerBrother], &["弟弟"]),
            (&[Kin::ElderSister], &["姐姐"]),
            (&[Kin::YoungerSister], &["妹妹"]),
            (&[Kin::FathersBrother], &["叔叔"]),
            (&[Kin::MothersBrother], &["舅舅"]),
            (&[Kin::MothersSister], &["阿姨"]),
            (&[Kin::FathersSister], &["姑姑"]),
        ],
        before_name: &["我", "的", "好", "朋", "友"],
        before_noun: &[],
        before_relative: &[],
        ordinary: &[],
        beside_title: &["歌", "曲", "音", "乐", "故", "事", "听", "这"],
    },
    numbers: Numbers {
        read,
        spell,
        cardinal,
        ordinal_endings: &[],
        misheard: &[
            ("ling", "零"), ("yi", "一"), ("er", "二"), ("liang", "二"), ("san", "三"), ("si", "四"), ("wu", "五"),
            ("liu", "六"), ("qi", "七"), ("ba", "八"), ("jiu", "九"), ("shi", "十"), ("bai", "百"), ("jia", "加"),
            ("jian", "减"), ("cheng", "乘"), ("chu", "除"),
        ],
        misspelled: &[],
        signs: &[
            ("加上", Sign::Plus), ("减去", Sign::Minus), ("乘以", Sign::Times), ("除以", Sign::By),
            ("加", Sign::Plus), ("减", Sign::Minus), ("乘", Sign::Times),
        ],
        around_sum: &[
            "请", "问", "你", "知", "道", "等", "于", "於", "几", "多", "少", "是", "得", "算", "一", "下", "吗",
            "呢", "啊", "的",
        ],
    },
    reminding: REMINDING,
    moods: Moods {
        quiet: &["安眠", "催眠", "摇篮", "睡", "晚安", "月", "星", "梦", "安静", "轻"],
        story: &["故事", "童话", "寓言"],
        riddle: &["谜语", "谜"],
    },
    consent: ConsentWords {
        stored: "此服务器保存玩具的名字、你为孩子填写的名字、孩子的好友和语音消息。语音消息保存{messages}，好友请求保存{requests}，\
                 谁读取了消息、同意了好友、删除和导出了什么的记录保存{audit}。",
        one_day: "一天",
        days: "{days}天",
        until_erased: "到被删除为止",
        until_toy_erased: "到玩具被删除为止",
        recordings_kept: "孩子对玩具本身说的话的录音保存到玩具被删除为止。",
        recordings_deleted: "孩子对玩具本身说的话的录音在处理之前就被删除。",
        words: "如果监护人为玩具开启，孩子对玩具说的话的文字会保存{words}，供监护人阅读。",
        reminders: "孩子请玩具提醒的事保存到玩具提醒之后为止。",
        stays: "录音和文字都不会离开此服务器。",
        sent: "不是指令的话的文字会发送给此服务器管理员选择的聊天服务。",
        rights: "只有聊天的双方和其中玩具的监护人可以播放消息。你可以查看记录，导出全部数据，删除消息、聊天、好友、玩具和你的账号，\
                 也可以解绑玩具来撤回此同意，解绑会删除以上全部数据。",
        between: "",
    },
    replies: Replies {
        table: &[
            (&["疼", "痛", "受伤", "流血", "不舒服", "救命"], "请马上去告诉大人，他们会帮助你的。"),
            (&["害怕", "怕", "怪物"], "我陪着你。抱紧我，把你害怕的事告诉爸爸妈妈。"),
            (&["难过", "伤心", "哭", "想妈妈", "想爸爸"], "别难过，我在这里。我们一起听首歌吧，对我说：放首歌。"),
            (&["爱你", "喜欢你"], "我也爱你！"),
            (&["晚安", "困了", "睡觉"], "晚安，祝你做个好梦。"),
            (&["早上好", "早安"], "早上好！你睡得好吗？"),
            (&["谢谢"], "不客气！"),
            (&["再见", "拜拜"], "再见，下次再来找我玩！"),
            (&["你好吗"], "我很好，因为有你在。你呢？"),
            (&["饿", "渴"], "去告诉爸爸妈妈吧，他们会给你准备的。"),
            (&["无聊", "陪我玩"], "我们来玩吧！对我说：出个谜语，或者：放首歌。"),
            (&["笑话"], "小熊为什么不吃蛋糕？因为它肚子里已经塞满棉花啦！"),
            (&["你好", "您好"], "你好！很高兴听到你的声音。"),
        ],
        otherwise: "这个我还不知道。不过我会放歌、讲故事，还会给你的朋友发消息。",
    },
    say,
};

#[rustfmt::skip]
const REMINDING: Reminding = Reminding {
    frames: &[
        (ReminderKind::Reminder, &[
            "提醒我…", "提醒一下我…", "提醒我一下…", "记得提醒我…", "提醒我们…", "设一个提醒…", "设个提醒…", "设置提醒…", "加一个提醒…",
        ]),
        (ReminderKind::Alarm, &[
            "叫醒我…", "叫我起床…", "喊我起床…", "叫我起来…", "把我叫醒…", "设一个闹钟…", "定一个闹钟…", "设个闹钟…", "定个闹钟…",
            "设闹钟…", "定闹钟…", "设置闹钟…", "设一个的闹钟…", "定一个的闹钟…", "设的闹钟…", "定的闹钟…", "设个的闹钟…", "定个的闹钟…",
        ]),
        (ReminderKind::Timer, &[
            "计时…", "倒计时…", "定时…", "开始计时…", "设一个计时器…", "定一个计时器…", "设个计时器…", "设一个的计时器…",
            "定一个的计时器…", "定一个倒计时…", "设一个倒计时…", "定一个的倒计时…", "设一个定时器…", "设一个的定时器…", "定个时…",
        ]),
    ],
    times: &[
        (TimeForm::In, &["#@", "#@后", "#@之后", "#@以后", "过#@", "再过#@", "#@#@", "#@#@后", "#@零#@"]),
        (TimeForm::InAndHalf, &["#个半小时", "#个半小时后", "#个半小时之后", "#个半小时以后", "#个半钟头"]),
        (TimeForm::Seconds(1800), &[
            "半小时", "半个小时", "半小时后", "半个小时后", "半小时之后", "半个小时之后", "半小时以后", "半个小时以后", "过半小时",
            "过半个小时", "半个钟头", "半个钟头后",
        ]),
        (TimeForm::Seconds(900), &["一刻钟", "一刻钟后", "一刻钟之后", "一刻钟以后", "过一刻钟"]),
        (TimeForm::At, &["#点", "#点钟", "#点#", "#点#分", "#点零#分", "到#点", "#时#分"]),
        (TimeForm::To, &["差#分#点", "差#分钟#点"]),
        (TimeForm::Beside(30), &["#点半", "到#点半"]),
        (TimeForm::Beside(15), &["#点一刻"]),
        (TimeForm::Beside(45), &["#点三刻"]),
    ],
    units: &[
        (1, &["秒", "秒钟"]), (60, &["分钟", "分"]), (3600, &["小时", "个小时", "钟头", "个钟头"]), (86_400, &["天"]),
        (604_800, &["个星期", "周"]),
    ],
    one: &[],
    parts: &[
        (DayPart::Morning, &["早上", "早晨", "上午", "清晨", "早", "凌晨"]),
        (DayPart::Noon, &["中午"]),
        (DayPart::Afternoon, &["下午", "午后"]),
        (DayPart::Evening, &["晚上", "傍晚", "晚"]),
        (DayPart::Night, &["夜里", "半夜", "深夜"]),
    ],
    days: &[(0, &["今天", "今"]), (1, &["明天", "明"]), (2, &["后天"])],
    links: &["要", "该", "得", "应该", "记得", "来", "的时候", "为"],
    repeated: &[],
};

#[rustfmt::skip]
const PHRASES: &[(Meaning, &[&str])] = &[
    // Music
    (Meaning::Title(Intent::Unknown), &[
        "播放…", "播…", "放…", "放一首…", "放首…", "给我放…", "来一首…", "来首…", "唱…", "唱一首…", "给我唱…",
        "给我唱一首…", "我想听…", "我要听…", "想听…", "听…", "我想听歌…", "讲…", "给我讲…",
    ]),
    (Meaning::Title(Intent::NoSuchTitle), &[
        "播放歌曲…", "我想听…这首歌", "放…这首歌", "播放…这首歌",
    ]),
    (Meaning::Title(Intent::Story), &[
        "讲…的故事", "给我讲…的故事", "我想听…的故事",
    ]),
    (Meaning::Title(Intent::PlayAny), &[
        "放点…的歌",
    ]),
    (Meaning::Title(Intent::Story), &[
        "讲一个…的故事",
    ]),
    (Meaning::Title(Intent::Riddle), &[
        "讲一个…的谜语", "出一个…的谜语",
    ]),
    (Meaning::Number, &[
        "第#首", "第#首歌", "播放第#首", "播放第#首歌", "放第#首", "放第#首歌", "我想听第#首", "我要听第#首",
        "我想听第#首歌", "唱第#首歌", "第#个", "播放第#个", "放第#个",
    ]),
    (Meaning::Is(Intent::PlayAny), &[
        "播放音乐", "放音乐", "放点音乐", "放歌", "放首歌", "放一首歌", "唱歌", "唱首歌", "唱一首歌", "给我唱首歌",
        "给我放首歌", "我想听歌", "我要听歌", "我想听音乐", "我要听音乐", "听歌", "听音乐", "来首歌", "来一首歌",
        "来点音乐",
    ]),
    (Meaning::Is(Intent::PlayAnother), &[
        "换一首", "换一首歌", "换首歌", "换一个", "换一首吧", "换歌", "下一首", "下一首歌", "下一个", "再来一首",
        "再放一首", "再唱一首", "播放下一首", "放下一首", "别的歌", "放别的歌", "我想听别的",
    ]),
    (Meaning::Is(Intent::PlayAgain), &[
        "再来一遍", "再放一遍", "再唱一遍", "再听一遍", "我想再听一遍", "我还想听", "再说一遍", "重复", "重放",
    ]),
    (Meaning::Is(Intent::Resume), &[
        "继续", "继续讲", "继续讲故事", "继续讲吧", "继续放", "继续放歌", "继续播放", "继续唱", "接着讲", "接着讲故事",
        "接着放", "接着唱", "接着播放", "往下讲",
    ]),
    (Meaning::Is(Intent::PlayQuiet), &[
        "安静的", "放安静的", "放点安静的", "来点安静的", "来一首安静的", "来一首安静的歌", "放一首安静的歌",
        "放安静的歌", "放安静的音乐", "放点安静的音乐", "我想听安静的", "我想听安静的歌", "我想听安静的音乐",
        "播放安静的音乐", "播放安静的歌", "放摇篮曲", "播放摇篮曲", "唱摇篮曲", "我想听摇篮曲", "我要睡觉了",
        "我想睡觉",
    ]),
    (Meaning::Is(Intent::Stop), &[
        "停", "停下", "停下来", "停一下", "停止", "停止播放", "暂停", "别唱了", "别放了", "别说了", "别说话了",
        "别说话", "不要说话", "别讲了", "别播了", "不要唱了", "不要放了", "不要说了", "不听了", "我不听了",
        "不要再唱了", "关掉", "关掉音乐", "关了", "安静", "安静点", "安静一点", "闭嘴", "够了",
    ]),
    (Meaning::Is(Intent::Louder), &[
        "大声", "大声点", "大声一点", "再大声一点", "大点声", "大一点声", "声音大一点", "声音大点", "声音再大一点",
        "音量大一点", "音量大点", "调大声音", "调大音量", "把声音调大", "把声音开大", "开大声", "开大声一点",
        "声音太小了", "太小声了", "我听不见", "听不见", "我听不到", "听不到", "音量加大", "加大音量",
    ]),
    (Meaning::Is(Intent::Softer), &[
        "小声", "小声点", "小声一点", "再小声一点", "小点声", "小一点声", "声音小一点", "声音小点", "声音再小一点",
        "音量小一点", "音量小点", "调小声音", "调小音量", "把声音调小", "把声音关小", "关小声", "开小声一点",
        "声音太大了", "太大声了", "太吵了", "音量减小", "轻一点", "轻点", "声音轻一点",
    ]),
    // Messages
    (Meaning::Friend(Intent::NoSuchFriend), &[
        "*给…发消息", "*给…发个消息", "*给…发一个消息", "*给…发一条消息", "*给…发条消息", "*给…发信息", "*给…发语音",
        "*给…发个语音", "*给…留言", "*给…留个言", "*我要给…发消息", "*我想给…发消息", "*我要给…发语音", "*我想给…发语音",
        "*发消息给…", "*发个消息给…", "*发一条消息给…", "*发信息给…", "*发语音给…", "*我要发消息给…", "*我想发消息给…",
        "*我要跟…说话", "*我要和…说话", "*我想跟…说话", "*我想和…说话", "*我要跟…讲话", "*我想跟…讲话", "*我要和…聊天",
        "*我想和…聊天", "*我要跟…聊天", "*我想跟…聊天", "*我要找…说话", "*我想找…聊天",
    ]),
    (Meaning::Friend(Intent::Unknown), &[
        "告诉…", "跟…说", "和…说", "对…说", "跟…说话", "和…说话", "打电话给…", "给…打电话", "我要给…打电话",
        "我想给…打电话", "呼叫…", "问问…", "跟…说一声", "帮我告诉…",
    ]),
    (Meaning::Is(Intent::NoSuchFriend), &[
        "发消息", "发个消息", "我要发消息", "我想发消息",
    ]),
    // Questions
    (Meaning::Is(Intent::Time), &[
        "几点", "几点了", "几点钟", "几点钟了", "现在几点", "现在几点了", "现在几点钟", "现在是几点", "现在什么时间",
        "什么时间了", "现在什么时候", "告诉我时间", "告诉我现在几点", "你知道现在几点吗",
    ]),
    (Meaning::Is(Intent::Date), &[
        "今天星期几", "今天是星期几", "今天几号", "今天是几号", "今天几月几号", "今天是几月几号", "今天周几",
        "今天礼拜几", "今天是什么日子", "星期几", "几月几号", "现在是几月", "今天是哪一天",
    ]),
    // Stories
    (Meaning::Is(Intent::Story), &[
        "讲故事", "讲个故事", "讲一个故事", "给我讲故事", "给我讲个故事", "给我讲一个故事", "说个故事", "说一个故事",
        "我想听故事", "我要听故事", "听故事", "来个故事", "再讲一个故事", "再讲一个", "讲个睡前故事",
        "给我讲个睡前故事", "放个故事", "播放故事",
    ]),
    (Meaning::Is(Intent::Riddle), &[
        "猜谜语", "猜谜", "猜个谜语", "猜一个谜语", "来个谜语", "出个谜语", "出一个谜语", "给我出个谜语",
        "给我出一个谜语", "说个谜语", "讲个谜语", "我想猜谜语", "我要猜谜语", "再来一个谜语", "谜语",
    ]),
    // 提醒
    (Meaning::Is(Intent::ListReminders), &[
        "有什么提醒", "有哪些提醒", "我有什么提醒", "我有哪些提醒", "有提醒吗", "我的提醒", "告诉我我的提醒", "计时还有多久", "还有多久到时间",
        "有哪些闹钟", "有什么闹钟", "闹钟几点响", "你几点叫我", "你什么时候提醒我",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Timer)), &[
        "停止计时", "停止计时器", "取消计时", "取消计时器", "关掉计时器", "关闭计时器", "取消倒计时", "停止倒计时", "把计时器关了",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Alarm)), &[
        "取消闹钟", "关掉闹钟", "关闭闹钟", "停止闹钟", "删除闹钟", "不要叫我起床", "别叫我起床", "把闹钟关了",
    ]),
    (Meaning::Is(Intent::CancelReminders(ReminderKind::Reminder)), &[
        "取消提醒", "删除提醒", "取消所有提醒", "删除所有提醒", "取消我的提醒", "不要提醒我", "别提醒我", "忘掉我的提醒", "不用提醒我了",
    ]),
    (Meaning::Is(Intent::PlayMessages), &[
        "有留言吗", "有新留言吗", "有没有留言", "有没有新留言", "我有留言吗", "我有没有留言", "播放留言", "播放我的留言", "听留言", "我要听留言",
        "我想听留言", "听我的留言", "有新消息吗", "有没有新消息", "有消息吗", "播放消息", "播放我的消息", "听消息", "我要听消息", "我的留言",
        "我的消息", "有人给我留言吗",
    ]),
    (Meaning::Is(Intent::WhoAreYou), &[
        "你是谁", "你是什么", "你叫什么", "你叫什么名字", "你的名字是什么", "你的名字叫什么", "你有名字吗",
        "告诉我你是谁", "告诉我你的名字",
    ]),
];

/// For a hub without stories: short enough to be spoken in one go.
#[rustfmt::skip]
const STORIES: &[&str] = &[
    "小熊睡不着，因为夜里太黑了。他往窗外一看，圆圆的月亮正亮着呢。月亮说：我来守着你。小熊闭上眼睛睡着了，醒来的时候，太阳出来了。",
    "蜗牛想去看大海。兔子说：路太远了。蜗牛每天走一点，把路边的花都看了一遍。等她来到海边，已经认识了一百种花，兔子却一朵也没看见。",
    "小鸭子捡到一把红雨伞。下雨了，小老鼠来躲雨，小猫来了，小狗也来了。小猫说：伞太小了。小鸭子说：那就靠近一点。大家挤在一起，谁也没淋湿。",
];

#[rustfmt::skip]
const RIDDLES: &[&str] = &[
    "什么东西有脸有手，却没有腿？……是钟！",
    "什么东西越擦越湿？……是毛巾！",
    "什么东西牙齿很多，却不会咬人？……是梳子！",
    "什么东西从天上掉下来，却从来不疼？……是雨！",
    "什么东西上山又下山，自己却从来不动？……是路！",
];

const DIGITS: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];

/// An ordinal has the words of its number, 第三.
fn cardinal(_: &str) -> Option<String> {
    None
}

/// 一百零五, 两百, 一百二: each digit is multiplied by the unit behind it.
fn read(words: &[&str]) -> Option<i64> {
    let mut total = 0;
    let mut digit = None;
    let mut unit_before = i64::MAX;
    let mut has_gap = false;
    for word in words {
        let Some(unit) = unit_of(word) else {
            let value = DIGITS.iter().position(|digit| digit == word).or((*word == "两").then_some(2))?;
            // Two digits in a row are a telephone number; a zero only fills a gap.
            if digit.is_some_and(|digit| digit != 0) {
                return None;
            }
            has_gap = value == 0 || (has_gap && digit == Some(0));
            digit = Some(i64::try_from(value).ok()?);
            continue;
        };
        if unit >= unit_before || digit == Some(0) {
            return None;
        }
        // Only ten does without a digit: 十五.
        total += unit * digit.take().or((unit == 10).then_some(1))?;
        unit_before = unit;
        has_gap = false;
    }
    match digit {
        // 一百二 is 120, 一百零二 is 102.
        Some(last) if !has_gap && (unit_before == 100 || unit_before == 1000) => Some(total + last * unit_before / 10),
        Some(last) => Some(total + last),
        None => Some(total),
    }
}

fn unit_of(word: &str) -> Option<i64> {
    match word {
        "十" => Some(10),
        "百" => Some(100),
        "千" => Some(1000),
        _ => None,
    }
}

fn spell(number: u32) -> Vec<String> {
    let digit = |index: u32| DIGITS.get(index as usize).map(|digit| (*digit).to_owned());
    if number > 9999 {
        return vec![number.to_string()];
    }
    let mut spelled = Vec::new();
    let mut rest = number;
    let mut gap = false;
    for (size, name) in [(1000, "千"), (100, "百"), (10, "十")] {
        if rest >= size {
            if gap {
                spelled.push("零".to_owned());
            }
            // Ten to nineteen begin with ten itself.
            if !(size == 10 && rest < 20 && spelled.is_empty()) {
                spelled.extend(digit(rest / size));
            }
            spelled.push(name.to_owned());
            rest %= size;
            gap = false;
        } else {
            gap = !spelled.is_empty();
        }
    }
    if rest > 0 || spelled.is_empty() {
        if gap {
            spelled.push("零".to_owned());
        }
        spelled.extend(digit(rest));
    }
    spelled
}

fn say(line: &Line<'_>) -> String {
    match line {
        Line::NotUnderstood => "我没听清，请再说一遍。".into(),
        Line::SayYourMessage(remark) => format!("请在提示音后对{remark}说话。"),
        Line::Which(first, second) => format!("你是说{first}，还是{second}？"),
        Line::IsItFor(remark) => format!("消息是发给{remark}的吗？"),
        Line::NoSuchTitle => "我没有这个。你说放首歌，我就找别的。".into(),
        Line::NoSuchNumber => "没有这个号码的歌。".into(),
        Line::NoMusic => "我还没有音乐，请爸爸妈妈帮忙放一些进来。".into(),
        Line::QuietTime => "现在要安静，音乐我们晚些再听。".into(),
        Line::NoSuchFriend => "我没找到这位朋友，你要发给谁呢？".into(),
        Line::WhoFor => "你要发给谁呢？".into(),
        Line::Done(ToyCommand::Stop) => "好的，停下了。".into(),
        Line::Done(ToyCommand::Louder) => "好的，大声一点。".into(),
        Line::Done(ToyCommand::Softer) => "好的，小声一点。".into(),
        Line::Time(Clock { time, .. }) => {
            format!("现在是{}。", time_of_day(*time))
        }
        Line::Date(Clock { date, .. }) => {
            let weekday = ["一", "二", "三", "四", "五", "六", "日"];
            let weekday = weekday.get(usize::from(date.weekday().number_days_from_monday())).unwrap_or(&"");
            let (month, day) = (u8::from(date.month()), date.day());
            format!("今天是{}年{month}月{day}日，星期{weekday}。", date.year())
        }
        Line::Sum(value) => format!("等于{}{}。", if *value < 0 { "负" } else { "" }, value.unsigned_abs()),
        Line::WhoAreYou("") => "我是你的玩具，也是你的朋友。".into(),
        Line::WhoAreYou(name) => format!("我是{name}，是你的玩具，也是你的朋友。"),
        Line::Story => line::any(STORIES),
        Line::Riddle => line::any(RIDDLES),
        Line::MessageFrom(remark) => format!("{remark}给你留言了。"),
        Line::MessagesFrom(remark) => format!("下面是{remark}的留言。"),
        Line::NoMessages => "没有新的留言。".into(),
        Line::Awake => "你好，我醒啦，我们一起玩吧！".into(),
        Line::NotBound => "还没有人绑定我，请用手机应用扫一扫我的二维码。".into(),
        Line::NotRegistered => "我还没有登记，请找大人帮忙。".into(),
        Line::ShallISend(remark) => format!("要发给{remark}吗？你可以说发送、重来，或者不要。"),
        Line::NotSent => "好的，不发了。".into(),
        Line::Sent => "你的留言已经发出去了。".into(),
        Line::ReminderSet(Reminded { kind, moment: at, words }) => match (kind, *words) {
            (ReminderKind::Timer, _) => format!("好的，计时器{}响。", moment(at)),
            (ReminderKind::Alarm, _) => format!("好的，我{}叫你。", moment(at)),
            (ReminderKind::Reminder, "") => format!("好的，我{}提醒你。", moment(at)),
            (ReminderKind::Reminder, words) => format!("好的，我{}提醒你：{words}。", moment(at)),
        },
        Line::WhenReminder(ReminderKind::Timer) => "要计时多久呢？".into(),
        Line::WhenReminder(ReminderKind::Alarm) => "几点叫你呢？".into(),
        Line::WhenReminder(ReminderKind::Reminder) => "什么时候提醒你呢？".into(),
        Line::RemindersFull => "我记不住更多提醒了。你可以说：取消所有提醒。".into(),
        Line::TooFarAhead => "那太久以后了，请告诉大人吧。".into(),
        Line::ReminderDue(Reminded { kind, words, .. }) => match (kind, *words) {
            (ReminderKind::Timer, "") => "叮铃铃，时间到了！".into(),
            (ReminderKind::Alarm, "") => "叮铃铃，该起床了！".into(),
            (ReminderKind::Reminder, "") => "你好，你的提醒到时间了。".into(),
            (ReminderKind::Timer, words) => format!("叮铃铃，时间到了：{words}。"),
            (ReminderKind::Alarm, words) => format!("叮铃铃，该起床了：{words}。"),
            (ReminderKind::Reminder, words) => format!("你好，提醒你：{words}。"),
        },
        Line::ReminderMissed(Reminded { kind, moment: at, words }) => match (kind, *words) {
            (ReminderKind::Timer, _) => format!("你的计时器{}就响过了。", moment(at)),
            (ReminderKind::Alarm, _) => format!("{}我没能叫醒你。", moment(at)),
            (ReminderKind::Reminder, "") => format!("{}我没能提醒你。", moment(at)),
            (ReminderKind::Reminder, words) => format!("{}我没能提醒你：{words}。", moment(at)),
        },
        Line::RemindersAre(all) => {
            let texts = all.iter().map(|Reminded { kind, moment: at, words }| match (kind, *words) {
                (ReminderKind::Timer, _) => format!("计时器{}响。", moment(at)),
                (ReminderKind::Alarm, _) => format!("我{}叫你。", moment(at)),
                (ReminderKind::Reminder, "") => format!("我{}提醒你。", moment(at)),
                (ReminderKind::Reminder, words) => format!("我{}提醒你：{words}。", moment(at)),
            });
            texts.collect()
        }
        Line::NoReminders => "没有提醒。".into(),
        Line::RemindersCancelled(ReminderKind::Timer, 0) => "没有在计时。".into(),
        Line::RemindersCancelled(ReminderKind::Alarm, 0) => "没有闹钟。".into(),
        Line::RemindersCancelled(ReminderKind::Reminder, 0) => "没有可以取消的提醒。".into(),
        Line::RemindersCancelled(ReminderKind::Timer, _) => "好的，计时停止了。".into(),
        Line::RemindersCancelled(ReminderKind::Alarm, _) => "好的，我不叫你了。".into(),
        Line::RemindersCancelled(ReminderKind::Reminder, _) => "好的，提醒都取消了。".into(),
        Line::UnreadMessages(count, names) => {
            format!("你有{count}条{}的新留言，要现在听吗？", reminding::listed(names, "和"))
        }
        Line::MessagesLater => "现在要安静，留言我们晚些再听。".into(),
        Line::NotNow => "好的，晚些再说。".into(),
    }
}

/// 晚上7点30分
fn time_of_day(time: Time) -> String {
    let (hour, minute) = (time.hour(), time.minute());
    let part = match hour {
        0..6 => "凌晨",
        6..12 => "上午",
        12..18 => "下午",
        18.. => "晚上",
    };
    let hour = (hour + 11) % 12 + 1;
    if minute == 0 { format!("{part}{hour}点") } else { format!("{part}{hour}点{minute}分") }
}

/// 10分钟后, 明天上午7点
fn moment(moment: &Moment) -> String {
    match moment {
        Moment::In(seconds) => {
            let (hours, minutes, seconds) = reminding::parts_of(*seconds);
            let parts = [(hours, "小时"), (minutes, "分钟"), (seconds, "秒")];
            let parts: String =
                parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
            format!("{parts}后")
        }
        Moment::At(clock, days) => {
            let time = time_of_day(clock.time);
            match days {
                0 => time,
                1 => format!("明天{time}"),
                2 => format!("后天{time}"),
                -1 => format!("昨天{time}"),
                _ => format!("{}月{}日{time}", u8::from(clock.date.month()), clock.date.day()),
            }
        }
    }
}
