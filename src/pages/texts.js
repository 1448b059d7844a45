// All texts of the pages, in each language, and how a page finds its own.

const LANGUAGES = ["en", "zh", "de"];
export const LANGUAGE_NAMES = { en: "English", zh: "中文", de: "Deutsch" };
const STORED = "toyhub.language";

/** @type {Record<string, [en: string, zh: string, de: string]>} */
const TEXTS = {
  // Log in
  welcome: ["Talk with your child's toy", "与孩子的玩具对话", "Sprich mit dem Spielzeug deines Kindes"],
  log_in: ["Log in", "登录", "Anmelden"],
  register: ["Create an account", "注册账号", "Konto anlegen"],
  to_register: ["I have no account yet", "我还没有账号", "Ich habe noch kein Konto"],
  to_log_in: ["I have an account", "我已有账号", "Ich habe ein Konto"],
  username: ["User name", "用户名", "Benutzername"],
  password: ["Password", "密码", "Passwort"],
  nickname: ["Name that others see", "昵称", "Name, den andere sehen"],
  gender: ["Picture", "头像", "Bild"],
  woman: ["Woman", "女", "Frau"],
  man: ["Man", "男", "Mann"],
  invite_code: ["Invitation code (if you have one)", "邀请码（如有）", "Einladungscode (falls vorhanden)"],
  log_out: ["Log out", "退出登录", "Abmelden"],
  language: ["Language", "语言", "Sprache"],
  // Link
  link_open: ["Connected", "已连接", "Verbunden"],
  link_connecting: ["Connecting …", "正在连接…", "Verbinde …"],
  link_waiting: ["No connection, trying again", "连接中断，正在重试", "Keine Verbindung, neuer Versuch"],
  link_closed: ["Not connected", "未连接", "Nicht verbunden"],
  close: ["Close", "关闭", "Schließen"],
  back: ["Back", "返回", "Zurück"],
  cancel: ["Cancel", "取消", "Abbrechen"],
  save: ["Save", "保存", "Speichern"],
  done: ["Done.", "完成。", "Erledigt."],
  // Places of the app
  nav: ["Main menu", "主菜单", "Hauptmenü"],
  chats: ["Chats", "聊天", "Chats"],
  toys: ["Toys", "玩具", "Spielzeuge"],
  people: ["Friends", "好友", "Freunde"],
  account: ["Account", "账号", "Konto"],
  // Chats
  no_chats: ["No chats yet. Add a toy first.", "还没有聊天。请先添加玩具。", "Noch keine Chats. Füge zuerst ein Spielzeug hinzu."],
  choose_chat: ["Choose a chat", "请选择聊天", "Wähle einen Chat"],
  no_messages: ["No messages here yet. Record the first one.", "还没有消息，录第一条吧。", "Noch keine Nachrichten. Nimm die erste auf."],
  only_unread: ["Earlier messages are not shown.", "未显示更早的消息。", "Frühere Nachrichten sind nicht angezeigt."],
  earlier: ["Show earlier messages", "显示更早的消息", "Frühere Nachrichten anzeigen"],
  online: ["online", "在线", "online"],
  offline: ["offline", "离线", "offline"],
  unread: ["{n} unread", "{n} 条未读", "{n} ungehört"],
  you: ["You", "我", "Du"],
  play: ["Play: {who}, {time}", "播放：{who}，{time}", "Abspielen: {who}, {time}"],
  pause: ["Pause: {who}, {time}", "暂停：{who}，{time}", "Anhalten: {who}, {time}"],
  position: ["Position", "播放位置", "Position"],
  state_new: ["new", "未听", "neu"],
  state_waiting: ["waiting for a connection", "等待连接", "wartet auf Verbindung"],
  state_sending: ["sending …", "发送中…", "wird gesendet …"],
  state_failed: ["not sent", "未发送", "nicht gesendet"],
  state_sent: ["sent", "已发送", "gesendet"],
  state_delivered: ["delivered", "已送达", "zugestellt"],
  state_heard: ["heard", "已听", "gehört"],
  again: ["Try again", "重试", "Erneut versuchen"],
  discard: ["Throw away", "丢弃", "Verwerfen"],
  record: ["Record", "录音", "Aufnehmen"],
  send: ["Send", "发送", "Senden"],
  recording: ["{s} s", "{s} 秒", "{s} s"],
  erase_message: ["Erase this message", "删除此消息", "Diese Nachricht löschen"],
  message_menu: ["More for the message: {who}, {time}", "消息的更多操作：{who}，{time}", "Mehr zur Nachricht: {who}, {time}"],
  chat_menu: ["More for this chat", "更多", "Mehr zu diesem Chat"],
  erase_chat: ["Erase all messages of this chat", "清空聊天记录", "Alle Nachrichten dieses Chats löschen"],
  mute: ["Mute", "静音", "Stumm schalten"],
  unmute: ["Unmute", "取消静音", "Stummschaltung aufheben"],
  unfriend: ["End this friendship", "解除好友", "Freundschaft beenden"],
  block: ["Block", "拉黑", "Blockieren"],
  unblock: ["Unblock", "取消拉黑", "Blockierung aufheben"],
  sure: ["Really? {what}", "确定吗？{what}", "Wirklich? {what}"],
  // Microphone and camera
  mic_refused: ["Allow this page to use the microphone, in the settings of the browser.", "请在浏览器设置中允许使用麦克风。", "Erlaube dieser Seite das Mikrofon, in den Einstellungen des Browsers."],
  mic_missing: ["This device has no microphone.", "此设备没有麦克风。", "Dieses Gerät hat kein Mikrofon."],
  mic_insecure: ["Browsers permit the microphone only over HTTPS or on this machine itself. Ask the operator for an https address.", "浏览器仅在 HTTPS 或本机上允许使用麦克风，请向管理员索取 https 地址。", "Browser erlauben das Mikrofon nur über HTTPS oder auf diesem Rechner selbst. Frage den Betreiber nach einer https-Adresse."],
  storage_full: ["The storage of this device is full. Keep the page open until the recording is sent.", "设备存储已满，发送完成前请勿关闭页面。", "Der Speicher dieses Geräts ist voll. Lass die Seite offen, bis die Aufnahme gesendet ist."],
  kept: ["The recording is kept and will be sent when the connection is back.", "录音已保存，恢复连接后发送。", "Die Aufnahme ist gespeichert und wird gesendet, sobald die Verbindung wieder da ist."],
  camera_refused: ["The camera cannot be used. Choose a picture of the code, or type the code.", "无法使用摄像头。请选择二维码图片或手动输入。", "Die Kamera ist nicht nutzbar. Wähle ein Bild des Codes oder tippe ihn ein."],
  no_code: ["There is no code in this picture.", "图片中没有二维码。", "In diesem Bild ist kein Code."],
  too_short: ["That was too short. Hold the button while you speak.", "太短了，请按住再说话。", "Das war zu kurz. Halte die Taste, während du sprichst."],
  cannot_play: ["This sound cannot be played.", "无法播放此声音。", "Dieser Ton lässt sich nicht abspielen."],
  // Toys
  no_toys: ["No toy yet. Scan the code on your toy.", "还没有玩具。请扫描玩具上的二维码。", "Noch kein Spielzeug. Scanne den Code auf deinem Spielzeug."],
  add_toy: ["Add a toy", "添加玩具", "Spielzeug hinzufügen"],
  scan: ["Scan with the camera", "用摄像头扫描", "Mit der Kamera scannen"],
  scanning: ["Point the camera at the code", "将摄像头对准二维码", "Richte die Kamera auf den Code"],
  from_picture: ["Choose a picture", "选择图片", "Bild wählen"],
  device_key: ["Code of the toy", "玩具代码", "Code des Spielzeugs"],
  toy_name: ["Name of the toy", "玩具名字", "Name des Spielzeugs"],
  baby_name: ["Name of the child", "孩子名字", "Name des Kindes"],
  remark: ["What the child calls you", "孩子怎么称呼你", "Wie das Kind dich nennt"],
  consent: ["I agree to this", "我同意", "Ich bin einverstanden"],
  bind: ["Connect the toy", "绑定玩具", "Spielzeug verbinden"],
  bound: ["{name} is connected.", "{name} 已绑定。", "{name} ist verbunden."],
  battery: ["Battery {n} %", "电量 {n}%", "Akku {n} %"],
  volume: ["Volume", "音量", "Lautstärke"],
  belongs: ["Child: {name}", "孩子：{name}", "Kind: {name}"],
  settings_of: ["Settings of {name}", "{name} 的设置", "Einstellungen von {name}"],
  settings: ["Settings", "设置", "Einstellungen"],
  quiet_hours: ["Quiet hours", "安静时间", "Ruhezeit"],
  from: ["From", "从", "Von"],
  until: ["Until", "到", "Bis"],
  voice: ["Voice of the toy", "玩具的声音", "Stimme des Spielzeugs"],
  own_voice: ["the usual one", "默认声音", "die übliche"],
  pace: ["Pace in percent", "语速（百分比）", "Tempo in Prozent"],
  none_set: ["Remove", "移除", "Entfernen"],
  minutes: ["Minutes of play a day (empty: no limit)", "每天播放分钟数（空：不限）", "Spielminuten am Tag (leer: unbegrenzt)"],
  minutes_used: ["{n} used today", "今天已用 {n}", "{n} heute verbraucht"],
  content: ["Music and stories", "音乐与故事", "Musik und Geschichten"],
  all_content: ["The toy may play all of them", "可播放全部内容", "Das Spielzeug darf alle abspielen"],
  approved_only: ["Only those that I approve", "仅播放我批准的", "Nur die, die ich erlaube"],
  household: ["Household", "家庭成员", "Haushalt"],
  invite: ["Invite a guardian", "邀请监护人", "Elternteil einladen"],
  invite_shown: ["Give this code to the other person. It is valid once:", "把此代码交给对方，仅可使用一次：", "Gib diesen Code der anderen Person. Er gilt einmal:"],
  join: ["Join with a code", "用代码加入", "Mit Code beitreten"],
  remove: ["Remove", "移除", "Entfernen"],
  owner: ["owner", "主人", "Besitzer"],
  let_in: ["Let {name} in at a new address", "允许 {name} 在新地址上线", "{name} an einer neuen Adresse einlassen"],
  let_in_done: ["{name} may now connect once.", "{name} 现在可连接一次。", "{name} darf sich jetzt einmal verbinden."],
  wants_in: ["{name} wants to connect at a new address.", "{name} 想在新地址上线。", "{name} will sich an einer neuen Adresse verbinden."],
  unbind: ["Disconnect this toy and erase its data", "解绑并删除数据", "Spielzeug trennen und seine Daten löschen"],
  address_book: ["Friends of {name}", "{name} 的好友", "Freunde von {name}"],
  // Friends
  requests: ["Requests", "好友请求", "Anfragen"],
  no_requests: ["No open requests.", "没有待处理的请求。", "Keine offenen Anfragen."],
  request_line: ["{from} asks for {to}", "{from} 想加 {to} 为好友", "{from} möchte sich mit {to} befreunden"],
  accept: ["Accept", "接受", "Annehmen"],
  refuse: ["Refuse", "拒绝", "Ablehnen"],
  add_friend: ["Add a friend", "添加好友", "Freund hinzufügen"],
  friend_id: ["Id of the user or toy", "用户或玩具的编号", "Id des Benutzers oder Spielzeugs"],
  as_whom: ["Friend of", "以谁的名义", "Befreundet mit"],
  me: ["me", "我", "mir"],
  your_name: ["Your name for this friend", "你对好友的称呼", "Dein Name für diesen Freund"],
  greeting: ["A word with it", "附言", "Ein Wort dazu"],
  request_sent: ["The request was sent.", "请求已发送。", "Die Anfrage ist gesendet."],
  my_id: ["Your id, for friends", "你的编号，可告诉好友", "Deine Id, für Freunde"],
  blocked: ["Blocked", "已拉黑", "Blockiert"],
  // Account
  privacy: ["Your data", "你的数据", "Deine Daten"],
  privacy_text: ["Recordings, names and settings are stored on this hub only. You can download all of it, or erase it, at any time.", "录音、名字和设置只保存在此服务器上。你可以随时下载或删除全部数据。", "Aufnahmen, Namen und Einstellungen sind nur auf diesem Server gespeichert. Du kannst jederzeit alles herunterladen oder löschen."],
  stored: ["What is stored, and for how long", "保存哪些数据，保存多久", "Was gespeichert wird, und wie lange"],
  export: ["Download all data", "下载全部数据", "Alle Daten herunterladen"],
  export_ready: ["Download the archive", "下载归档", "Archiv herunterladen"],
  erase_account: ["Erase my account", "删除我的账号", "Mein Konto löschen"],
  erase_warning: ["Your account, your toys and all their messages are erased. This cannot be undone.", "你的账号、玩具及全部消息将被删除，无法恢复。", "Dein Konto, deine Spielzeuge und alle Nachrichten werden gelöscht. Das lässt sich nicht rückgängig machen."],
  audit: ["What happened", "操作记录", "Was geschehen ist"],
  operator: ["the operator", "管理员", "der Betreiber"],
  notify: ["Notify me of new messages", "有新消息就通知我", "Neue Nachrichten melden"],
  notify_how: ["When the app is closed, the hub tells the push service of your browser that there is something new, but not what or from whom.", "应用关闭时，服务器只告诉浏览器的推送服务有新内容，不含内容和发送者。", "Bei geschlossener App sagt der Server dem Push-Dienst deines Browsers nur, dass es etwas Neues gibt, nicht was oder von wem."],
  notified: ["Browsers with push messages, and since when:", "已开启推送的浏览器及开启时间：", "Browser mit Push-Nachrichten, und seit wann:"],
  push_message: ["There is a new message.", "有新消息。", "Eine neue Nachricht ist da."],
  push_request: ["There is a friend request.", "有好友请求。", "Eine Freundschaftsanfrage ist da."],
  push_toy: ["A toy wants to connect at a new address.", "有玩具想在新地址上线。", "Ein Spielzeug will sich an einer neuen Adresse verbinden."],
  notify_refused: ["Allow notifications of this page in the settings of the browser.", "请在浏览器设置中允许此页面发送通知。", "Erlaube Mitteilungen dieser Seite in den Einstellungen des Browsers."],
  change_password: ["Change the password", "修改密码", "Passwort ändern"],
  new_password: ["New password", "新密码", "Neues Passwort"],
  act_read: ["read messages", "读取了消息", "hat Nachrichten gelesen"],
  act_bound: ["connected the toy", "绑定了玩具", "hat das Spielzeug verbunden"],
  act_unbound: ["disconnected the toy", "解绑了玩具", "hat das Spielzeug getrennt"],
  act_befriended: ["agreed to a friendship", "同意了好友", "hat einer Freundschaft zugestimmt"],
  act_parted: ["ended a friendship", "解除了好友", "hat eine Freundschaft beendet"],
  act_erased_message: ["erased a message", "删除了消息", "hat eine Nachricht gelöscht"],
  act_erased_chat: ["erased a chat", "清空了聊天", "hat einen Chat gelöscht"],
  act_exported: ["downloaded the data", "下载了数据", "hat die Daten heruntergeladen"],
  act_password_changed: ["changed the password", "修改了密码", "hat das Passwort geändert"],
  act_guardian_added: ["became a guardian", "成为监护人", "wurde Elternteil"],
  act_guardian_removed: ["was removed as a guardian", "不再是监护人", "ist kein Elternteil mehr"],
  act_blocked: ["blocked someone", "拉黑了某人", "hat jemanden blockiert"],
  act_unblocked: ["unblocked someone", "取消拉黑", "hat eine Blockierung aufgehoben"],
  act_operated: ["changed a setting", "更改了设置", "hat eine Einstellung geändert"],
  act_secret_renewed: ["renewed a secret", "更新了密钥", "hat ein Geheimnis erneuert"],
  act_opened_anew: ["connected at a new address", "在新地址上线", "hat sich an einer neuen Adresse verbunden"],
  act_words_turned_on: ["turned on that the child's words are kept", "开启了保存孩子的话", "hat eingeschaltet, dass die Worte des Kindes aufbewahrt werden"],
  act_words_turned_off: ["turned off that the child's words are kept", "关闭了保存孩子的话", "hat ausgeschaltet, dass die Worte des Kindes aufbewahrt werden"],
  act_words_read: ["read the child's words", "读取了孩子的话", "hat die Worte des Kindes gelesen"],
  // Failures
  unreachable: ["The hub cannot be reached.", "无法连接服务器。", "Der Server ist nicht erreichbar."],
  code_10: ["Please log in again.", "请重新登录。", "Bitte melde dich neu an."],
  code_11: ["Too many attempts. Wait a moment.", "尝试次数过多，请稍候。", "Zu viele Versuche. Warte einen Moment."],
  code_12: ["The list is full.", "列表已满。", "Die Liste ist voll."],
  code_13: ["The recording cannot be read.", "无法读取录音。", "Die Aufnahme ist nicht lesbar."],
  code_14: ["The recording is empty.", "录音为空。", "Die Aufnahme ist leer."],
  code_15: ["The recording is too long.", "录音太长。", "Die Aufnahme ist zu lang."],
  code_16: ["The hub cannot recognise speech: it has no model.", "服务器没有语音模型。", "Der Server versteht keine Sprache: ihm fehlt das Modell."],
  code_17: ["The hub is busy. Try again.", "服务器繁忙，请重试。", "Der Server ist ausgelastet. Versuche es erneut."],
  code_18: ["That is not permitted.", "不允许此操作。", "Das ist nicht erlaubt."],
  code_19: ["The hub has a fault. The operator finds it in the log.", "服务器故障，请联系管理员。", "Der Server hat einen Fehler. Der Betreiber findet ihn im Protokoll."],
  code_32: ["The disk of the hub is full.", "服务器磁盘已满。", "Die Festplatte des Servers ist voll."],
  code_35: ["Your storage is used up. Erase messages first.", "存储空间已用完，请先删除消息。", "Dein Speicher ist aufgebraucht. Lösche zuerst Nachrichten."],
  code_36: ["That was erased.", "已被删除。", "Das wurde gelöscht."],
  // The toy in the browser
  toy_title: ["A toy in the browser", "浏览器里的玩具", "Ein Spielzeug im Browser"],
  toy_key: ["Device key", "设备代码", "Geräteschlüssel"],
  toy_secret: ["Secret", "密钥", "Geheimnis"],
  toy_hint: ["`toyhub device add` prints both.", "由 `toyhub device add` 输出。", "`toyhub device add` gibt beides aus."],
  switch_on: ["Switch on", "开机", "Einschalten"],
  toy_off: ["The toy is off.", "玩具已关机。", "Das Spielzeug ist aus."],
  toy_unbound: ["Scan this code with the app.", "请用应用扫描此码。", "Scanne diesen Code mit der App."],
  toy_qr: ["Code of this toy: {key}", "此玩具的代码：{key}", "Code dieses Spielzeugs: {key}"],
  toy_unknown: ["The hub does not know this toy, or its secret is wrong.", "服务器不认识此玩具，或密钥有误。", "Der Server kennt dieses Spielzeug nicht, oder das Geheimnis ist falsch."],
  toy_ready: ["{name} is ready. Hold the button and speak.", "{name} 准备好了，按住按钮说话。", "{name} ist bereit. Halte die Taste und sprich."],
  toy_listens: ["Listening …", "正在听…", "Hört zu …"],
  toy_thinks: ["One moment …", "请稍候…", "Einen Moment …"],
  toy_plays: ["Playing: {who}", "正在播放：{who}", "Spielt ab: {who}"],
  toy_tap: ["There is a message. Press “Listen”.", "有新消息，请按“收听”。", "Eine Nachricht ist da. Drücke „Anhören“."],
  toy_reminder: ["A reminder. {words}", "提醒。{words}", "Eine Erinnerung. {words}"],
  toy_alarm: ["The alarm rings. {words}", "闹钟响了。{words}", "Der Wecker klingelt. {words}"],
  toy_timer: ["The timer has ended. {words}", "计时结束。{words}", "Der Timer ist abgelaufen. {words}"],
  toy_sent: ["Sent to {who}.", "已发送给 {who}。", "An {who} gesendet."],
  listen: ["Listen", "收听", "Anhören"],
  hold: ["Hold and speak", "按住说话", "Halten und sprechen"],
  stop: ["Stop", "停止", "Stopp"],
  talk_to: ["Talk to", "对谁说", "Sprich mit"],
  assistant: ["the toy itself", "玩具本身", "dem Spielzeug selbst"],
  music: ["music", "音乐", "Musik"],
  // Demo
  demo_title: ["Both ends on one screen", "同屏体验两端", "Beide Enden auf einem Bildschirm"],
  demo_1: ["1. In the app: create an account and connect the toy.", "1. 在应用中注册并绑定玩具。", "1. In der App: Konto anlegen und Spielzeug verbinden."],
  demo_2: ["2. At the toy: hold the button and speak.", "2. 按住玩具按钮说话。", "2. Am Spielzeug: Taste halten und sprechen."],
  demo_3: ["3. In the app: play the message and answer.", "3. 在应用中收听并回复。", "3. In der App: Nachricht abspielen und antworten."],
  the_app: ["The app", "应用", "Die App"],
  the_toy: ["The toy", "玩具", "Das Spielzeug"],
};

function preferred() {
  const stored = read(STORED);
  if (LANGUAGES.includes(stored)) return stored;
  const wished = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2).toLowerCase());
  return wished.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

/** A value of the local storage; a browser may forbid the storage. */
export function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Stores a value, or removes it for `null`; without a storage it is lost with the page. */
export function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch { /* The page works without. */ }
}

export let language = preferred();
document.documentElement.lang = language;

export function setLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = chosen;
  write(STORED, chosen);
}

/** Whether there is such a text. */
export const has = (key) => key in TEXTS;

/** The text in the user's language, with the values in place of `{name}`. */
export function t(key, values = {}) {
  const text = TEXTS[key][LANGUAGES.indexOf(language)];
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** The sentence for a failed call. */
export function sentence(error) {
  if (error?.name !== "Refused") return t("unreachable");
  return has(`code_${error.code}`) ? t(`code_${error.code}`) : error.message;
}

/** Fills the elements with a `data-t`. */
export function fill(root = document) {
  /** @type {NodeListOf<HTMLElement>} */
  const elements = root.querySelectorAll("[data-t]");
  for (const element of elements) element.textContent = t(element.dataset.t);
}
