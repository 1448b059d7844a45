//! From the upload to the answer, measured by a toy over HTTP, with a separate hub.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::Times;
use crate::hub::Hub;
use crate::recordings::Recording;

pub struct Uploads {
    /// Each recording for the first time: its answer has to be synthesised.
    pub first: Times,
    /// Each a second time: the hub has its sound.
    pub again: Times,
}

pub async fn measure(program: &str, model: &Path, recordings: &[Recording]) -> Uploads {
    let settings = [
        ("TOYHUB_SPEECH__MODEL", model.display().to_string()),
        // The limits are raised for the measurement, which uses one toy.
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000".into()),
    ];
    let hub = Hub::start(program.to_owned(), &settings);
    let [_, toy, ..] = hub.family().await;
    let client = reqwest::Client::new();
    let mut uploads = Uploads { first: Times::default(), again: Times::default() };
    for times in [&mut uploads.first, &mut uploads.again] {
        for recording in recordings {
            let started = Instant::now();
            let answer = ask(&client, &hub, &toy, recording).await;
            times.add(started.elapsed());
            assert!(answer["chat"].is_string(), "{answer}");
        }
    }
    uploads
}

pub async fn ask(client: &reqwest::Client, hub: &Hub, toy: &str, recording: &Recording) -> Value {
    start(client, hub, toy, recording).await
}

/// As [`ask`], for a task of its own: it is sent when the future is first polled.
pub fn start(
    client: &reqwest::Client,
    hub: &Hub,
    toy: &str,
    recording: &Recording,
) -> impl Future<Output = Value> + Send + 'static {
    let part = reqwest::multipart::Part::bytes(recording.wav.clone()).file_name("record.wav");
    let form = reqwest::multipart::Form::new().text("toy_id", toy.to_owned()).part("reco", part);
    let request = client.post(format!("http://{}/ai_uploader", hub.http)).multipart(form);
    async move { serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap() }
}
