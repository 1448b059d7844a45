//! Users, each with a toy, and the calls that they make.

use anyhow::{Context as _, Result, bail};
use reqwest::Client;
use serde_json::{Value, json};

use crate::hub::{Addresses, Hub};

/// The maximum number of devices of one command.
const DEVICES_AT_ONCE: usize = 1000;

/// A user with a toy.
#[derive(Debug, Clone)]
pub struct Family {
    pub user: String,
    pub token: String,
    pub toy: String,
    pub device_key: String,
    pub secret: String,
    /// The chat of the two.
    pub chat: String,
}

/// Creates a number of toys on a running hub, shared by a number of users: a family for each toy.
pub async fn families(hub: &Hub, addresses: Addresses, users: usize, toys: usize) -> Result<Vec<Family>> {
    let client = Client::new();
    let mut accounts = Vec::with_capacity(users);
    for number in 0..users {
        let (name, password) = (format!("parent{number}"), "correct horse");
        let new = json!({"username": name, "password": password, "nickname": name, "gender": "2"});
        done(&post(&client, addresses, "/reg", None, &new).await?)?;
        let login = json!({"username": name, "password": password});
        let user = done(&post(&client, addresses, "/login", None, &login).await?)?;
        accounts.push((text(&user["_id"])?, text(&user["token"])?));
    }
    let mut families = Vec::with_capacity(toys);
    while families.len() < toys {
        let count = (toys - families.len()).min(DEVICES_AT_ONCE);
        let printed = hub.run(&["device", "add", "--count", &count.to_string()]).await?;
        let devices: Vec<(&str, &str)> = printed.lines().filter_map(|line| line.split_once('\t')).collect();
        if devices.len() != count {
            bail!("device add printed {} devices for {count}", devices.len());
        }
        for (key, secret) in devices {
            let number = families.len();
            let (user, token) = accounts[number % users].clone();
            let binding = json!({
                "toy_name": format!("toy{number}"), "baby_name": "baby", "remark": "Mum", "user_id": user,
                "device_key": key,
            });
            done(&post(&client, addresses, "/bind_toy", Some(&token), &binding).await?)?;
            let opened = post(&client, addresses, "/open_toy", None, &json!({"device_key": key})).await?;
            let toy = text(&opened["toy_id"])?;
            let friends = post(&client, addresses, "/friend_list", Some(&token), &json!({"_id": user})).await?;
            let friends = done(&friends)?;
            let friend =
                friends.as_array().and_then(|friends| friends.iter().find(|friend| friend["friend_id"] == toy));
            let chat = text(&friend.context("the toy is a friend")?["friend_chat"])?;
            families.push(Family { user, token, toy, device_key: key.to_owned(), secret: secret.to_owned(), chat });
        }
    }
    Ok(families)
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("a text, not {value}"))?.to_owned())
}

/// A call with a JSON body; an answer that is not JSON, or has another status than 200, is an error.
pub async fn post(
    client: &Client,
    addresses: Addresses,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<Value> {
    let mut request = client.post(format!("http://{}{path}", addresses.http)).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if status != 200 {
        bail!("{path} answers {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{path} answers {text}"))
}

/// The `data` of an answer with code 0.
pub fn done(answer: &Value) -> Result<Value> {
    if answer["code"] != 0 {
        bail!("the hub answers {answer}");
    }
    Ok(answer["data"].clone())
}
