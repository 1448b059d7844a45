//! Two hubs over one store and one bucket.

use serde_json::json;

use super::{StoreServer, hub, hubs};
use crate::s3::S3;
use crate::sound;
use crate::world::{World, within};

async fn status(world: &World, path: &str) -> u16 {
    within(path, world.client().get(format!("{}{path}", world.http())).send()).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_sound_of_one_hub_is_played_by_the_other() {
    let (store, s3) = (StoreServer::start().await, S3::start().await);
    let [a, b] = hubs(&store, &s3.settings()).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let sent = a.upload("/toy_uploader", "reco", sound::tone(1), &fields).await;
    let path = format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap());
    assert_eq!((status(&a, &path).await, status(&b, &path).await), (200, 200), "{sent}");
    let received = b.post_as(&parent, "/recv_msg", json!({"from_user": toy.id, "to_user": parent.id})).await;
    assert_eq!(received.as_array().map(Vec::len), Some(1), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn the_start_of_a_hub_deletes_nothing_of_a_command_at_another() {
    let (store, s3) = (StoreServer::start().await, S3::start().await);
    let a = hub(&store, &s3.settings()).await;
    // Their pictures are stored before their rows; meanwhile two more hubs start.
    let adding = a.run(&["device", "add", "--count", "150"]);
    let starting = async { [hub(&store, &s3.settings()).await, hub(&store, &s3.settings()).await] };
    let (added, [b, _c]) = tokio::join!(adding, starting);
    let keys: Vec<&str> = added.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(keys.len(), 150);
    for key in keys {
        assert_eq!(status(&b, &format!("/get_qr/{key}.png")).await, 200, "{key}");
    }
}
