//! Tests of every key, and of the files that are generated from them.

use std::net::SocketAddr;

use super::*;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    Config::parse(text, "broker.toml", environment)
}

/// Each key of each section.
fn keys() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    Config::sections().iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

#[test]
fn the_files_in_the_repository_are_up_to_date() {
    let file = default_file().unwrap();
    assert_eq!(parse(&file, &[]).unwrap(), Config::default());
    let is_same = |name: &str, made: &str, there: &str| {
        let different = made.lines().zip(there.lines()).find(|(made, there)| made != there);
        assert!(made == there, "{name} is not what toyhub config prints: {different:?}");
    };
    is_same("broker.toml", &file, include_str!("../../broker.toml"));
    is_same("docs/configuration.md", &reference().unwrap(), include_str!("../../docs/configuration.md"));
}

#[test]
fn every_key_has_a_text_and_twenty_come_first() {
    let known = Config::default_table().unwrap();
    for (section, key) in keys() {
        assert!(known[section.name].get(key.name).is_some(), "{}.{} is no field", section.name, key.name);
        assert!(!key.text.is_empty(), "{}.{} has no text", section.name, key.name);
    }
    let fields: usize = known.values().map(|section| section.as_table().unwrap().len()).sum();
    assert_eq!(keys().count(), fields);
    assert_eq!(keys().filter(|(_, key)| key.is_everyday()).count(), 20);
}

#[test]
fn zero_is_refused_for_every_number_but_those_that_have_a_meaning_for_it() {
    let known = Config::default_table().unwrap();
    let numbers = keys().filter(|(section, key)| known[section.name][key.name].is_integer());
    let mut refused = 0;
    for (section, key) in numbers {
        let text = key.text.concat();
        assert!(!key.may_be_zero() || text.contains(" 0 "), "{}.{} does not say what 0 means", section.name, key.name);
        let path = format!("{}.{}", section.name, key.name);
        let variable = format!("TOYHUB_{}__{}", section.name, key.name).to_uppercase();
        let outcomes = [parse(&format!("[{}]\n{} = 0", section.name, key.name), &[]), parse("", &[(&variable, "0")])];
        for outcome in outcomes {
            match key.may_be_zero() {
                true => assert!(outcome.is_ok(), "{path}: {outcome:?}"),
                false => {
                    let expected = vec![format!("broker.toml: {path} is 0; set a number of 1 or more")];
                    assert_eq!(outcome.unwrap_err().0, expected);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 150, "only {refused} were refused");
}

#[test]
fn all_faults_are_named_together() {
    let error = parse("[http]\nlisten = 80\nlissen = \"x\"\n[nope]\na = 1\n", &[("TOYHUB_MQTT__LISTN", "x")]);
    let faults = error.unwrap_err().0;
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert!(
        faults.contains(&"broker.toml: http.listen has the type integer; it must be array".to_owned()),
        "{faults:?}"
    );
    assert!(faults.iter().any(|f| f.contains("http.lissen is not a known key")));
    assert!(faults.iter().any(|f| f.contains("nope is not a known key")));
    assert!(faults.iter().any(|f| f.contains("TOYHUB_MQTT__LISTN names no known key")));
}

#[test]
fn wrong_values_are_named_together_with_zeros() {
    let text = "[http]\nlisten = \"nowhere\"\ndialect = \"maybe\"\nconnections_max = 0\n[mqtt]\ninflight_max = 70000\n";
    let faults = parse(text, &[]).unwrap_err().0;
    let named = |key: &str| faults.iter().any(|fault| fault.starts_with(&format!("broker.toml: {key}")));
    for key in ["http.listen", "http.dialect", "http.connections_max is 0", "mqtt.inflight_max"] {
        assert!(named(key), "{key} is not in {faults:?}");
    }
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("70000") && fault.contains("from 0 to 65535")), "{faults:?}");
}

#[test]
fn a_time_that_no_clock_reaches_is_named() {
    let text = "[cluster]\nkeep_alive_s = 9223372036854775807\n[retention]\nmessages_days = 400000\n";
    let faults = parse(text, &[("TOYHUB_STORE__ANSWER_TIMEOUT_S", "40000000000")]).unwrap_err().0;
    for key in ["cluster.keep_alive_s", "store.answer_timeout_s", "retention.messages_days"] {
        let expected = format!("broker.toml: {key} is longer than 1,000 years; set a smaller number");
        assert!(faults.contains(&expected), "{faults:?}");
    }
}

#[test]
fn variables_override_the_file() {
    let config = parse(
        "[http]\nlisten = \"0.0.0.0:1\"\n",
        &[
            ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0"),
            ("TOYHUB_HTTP__ALLOWED_ORIGINS", "http://a, http://b"),
            ("TOYHUB_MQTT__INFLIGHT_MAX", "7"),
            ("HOME", "/"),
        ],
    );
    let config = config.unwrap();
    assert_eq!(config.http.listen[0].address, SocketAddr::from(([127, 0, 0, 1], 0)));
    assert_eq!(config.http.allowed_origins, ["http://a", "http://b"]);
    assert_eq!(config.mqtt.inflight_max, 7);
}

#[test]
fn listeners_are_one_address_or_many() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let one = parse("[mqtt]\nlisten = \"[::]:1883\"\n[http]\nlegacy_listen = \"\"", &[]).unwrap();
    assert_eq!(one.mqtt.listen, addresses(&["[::]:1883"]));
    assert!(one.http.legacy_listen.is_empty());
    let listed = "[http]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]";
    let many = parse(listed, &[("TOYHUB_MQTT__LISTEN", "0.0.0.0:1, [::]:1")]).unwrap();
    let of_http = many.http.listen.iter().map(|listen| listen.address).collect::<Vec<_>>();
    assert_eq!(of_http, addresses(&["127.0.0.1:1", "[::1]:1"]));
    assert_eq!(many.mqtt.listen, addresses(&["0.0.0.0:1", "[::]:1"]));
    let proxies = parse("[net]\nproxies = [\"10.0.0.0/8\", \"::1\"]", &[]).unwrap().net.proxies;
    assert_eq!(proxies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn each_listener_may_have_a_dialect() {
    let text = "[http]\nlisten = [\"0.0.0.0:1\", \"[::]:2  field\"]\nlegacy_listen = \"0.0.0.0:3 documented\"\n";
    let dialects = |environment| parse(text, environment).unwrap().http.dialects();
    assert_eq!(dialects(&[]), [Dialect::Documented, Dialect::Field, Dialect::Documented]);
    assert_eq!(dialects(&[("TOYHUB_HTTP__DIALECT", "field")]), [Dialect::Field, Dialect::Field, Dialect::Documented]);
    let tls = [
        ("TOYHUB_HTTP__TLS_LISTEN", "0.0.0.0:4 field"),
        ("TOYHUB_NET__TLS_CERTIFICATE", "a"),
        ("TOYHUB_NET__TLS_KEY", "b"),
    ];
    assert_eq!(dialects(&tls)[3], Dialect::Field);
    // What is printed is read again.
    let config = parse(text, &[]).unwrap();
    let printed = toml::to_string(&config).unwrap();
    assert_eq!(parse(&printed, &[]).unwrap(), config);
}

#[test]
fn an_unknown_language_is_named_with_those_that_are_spoken_instead() {
    for (variable, unknown, spoken) in [
        ("xx", r#"["xx"]"#, r#"["en"]"#),
        ("de,xx", r#"["xx"]"#, r#"["de"]"#),
        ("fr,de,De", r#"["fr", "De"]"#, r#"["de"]"#),
        (r#"["de"]"#, r#"["[\"de\"]"]"#, r#"["en"]"#),
    ] {
        let speech = parse("", &[("TOYHUB_SPEECH__LANGUAGES", variable)]).unwrap().speech;
        let fault = speech.fault_of_languages().unwrap();
        assert!(fault.contains(&format!("unknown languages: {unknown}; set some of \"en\"")), "{variable}: {fault}");
        assert!(fault.ends_with(&format!("hears {spoken}")), "{variable}: {fault}");
        assert_eq!(format!("{:?}", speech.known_languages()), spoken);
    }
    for (text, spoken) in [(r#"["de", "en"]"#, r#"["de", "en"]"#), ("[]", "[]")] {
        let speech = parse(&format!("[speech]\nlanguages = {text}"), &[]).unwrap().speech;
        assert_eq!(speech.fault_of_languages(), None, "{text}");
        assert_eq!(format!("{:?}", speech.known_languages()), spoken);
    }
}

#[test]
fn wrong_values_are_refused_with_a_remedy() {
    for (text, expected) in [
        ("[http]\nlisten = \"nowhere\"", "listen"),
        ("[http]\nauth = \"sticky\"", "http.auth was replaced by auth.mode"),
        ("[auth]\nmode = \"maybe\"", "auth.mode: unknown variant `maybe`, expected one of `place`, `token`, `open`"),
        ("[http]\nupload_max_bytes = 0", "http.upload_max_bytes is 0"),
        ("[mqtt]\nkeep_alive_max_s = 70000", "keep_alive_max_s"),
        ("[store]\nurl = \"mysql://x\"", "store.url is unknown"),
        ("[store]\nurl = \"wss://x\"", "store.url is a SurrealDB server; set store.username"),
        ("[files]\nurl = \"s3://b\"\nendpoint = \"https://mia:secret@x\"", "files.endpoint has a user"),
        ("[files]\nendpoint = \"https://10.0.0.1:9000\"\npath_style = false", "files.endpoint has an IP address"),
        ("[files]\nendpoint = \"https://[::1]\"\npath_style = false", "files.endpoint has an IP address"),
        ("[store]\nurl = \"ws://mia:secret@x\"", "store.url has a user, which would be logged"),
        ("[store]\nurl = \"ws://x\"\nusername = \"root\"", "its password in TOYHUB_STORE__PASSWORD"),
        ("[store]\nuser_level = \"table\"", "store.user_level"),
        ("[http", "line 1: not TOML"),
        ("[mqtt]\ntls_listen = \"8883\"", "tls_listen"),
        ("[mqtt]\ntls_listen = \"0.0.0.0:8883\"", "net.tls_certificate is empty, which mqtt.tls_listen needs"),
        ("[http]\ntls_listen = [\"0.0.0.0:443\"]", "net.tls_key is empty, which http.tls_listen needs"),
        ("[console]\ntls_listen = \"[::]:9530\"", "net.tls_key is empty, which console.tls_listen needs"),
        ("[http]\nlisten = []", "http.listen and http.tls_listen are empty"),
        ("[http]\nlisten = [\"localhost\"]", "http.listen: \"localhost\" is not an address with a port"),
        ("[http]\nlisten = [\"0.0.0.0:1 french\"]", "does not end with a dialect: \"documented\" or \"field\""),
        ("[http]\nlegacy_listen = [\"field 0.0.0.0:1\"]", "does not end with a dialect"),
        ("[http]\nfield_content_list = \"other\"", "http.field_content_list: unknown variant"),
        ("[mqtt]\nlisten = [\"0.0.0.0:1 field\"]", "is not an address with a port"),
        ("[mqtt]\ntls_record_max_bytes = 20000", "mqtt.tls_record_max_bytes is 20000"),
        ("[mqtt]\nproxy_protocol = true", "mqtt.proxy_protocol is set, and net.proxies is empty"),
        ("[http]\nforwarded_header = \"x-forwarded-for\"", "http.forwarded_header is set"),
        ("[http]\nforwarded_header = \"x-real-ip\"", "http.forwarded_header: unknown variant"),
        ("[net]\nproxies = [\"10.0.0.0/40\"]", "net.proxies: \"10.0.0.0/40\" is not an address or network"),
        ("[mqtt]\ntls_listen = \"[::]:1\"\ntls_client_certificates = \"optional\"", "mqtt.tls_client_ca is empty"),
        ("[mqtt]\nqueue_bytes_max = 1", "mqtt.queue_bytes_max is less than twice"),
        (
            "[mqtt]\nlisten = []\ntls_listen = \"[::]:1\"\n[net]\ntls_certificate = \"a\"\ntls_key = \"b\"\n[xiaozhi]\n\
             transport = \"both\"",
            "xiaozhi.transport offers MQTT, and mqtt.listen is empty",
        ),
        ("[mqtt]\nconformance_listen = \"0.0.0.0:1884\"", "mqtt.conformance_listen is open"),
        ("[xiaozhi]\nnotify_ttl_s = 9000000000", "xiaozhi.notify_ttl_s is more than 3600"),
        ("[xiaozhi]\nstate_interval_s = 86401", "xiaozhi.state_interval_s is more than 86400"),
        ("[xiaozhi]\nudp_queue_packets_max = 4000000000000000000", "xiaozhi.udp_queue_packets_max is more than 10000"),
        ("[speech]\nreply_url = \"example\"\nreply_model = \"m\"", "speech.reply_url is not a web address"),
        ("[speech]\nreply_url = \"http://a\"", "speech.reply_model is empty"),
        ("[speech]\nutc_offset_minutes = 5000", "speech.utc_offset_minutes is more than a day"),
    ] {
        let error = parse(text, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.starts_with("broker.toml"), "{error}");
    }
}

#[test]
fn the_password_of_the_store_is_not_printed() {
    let config = parse("[store]\npassword = \"hunter2\"", &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
