//! `toyhub device add`: prints the secrets of new devices, and copies their QR pictures.

use std::path::Path;

use super::output::print_or_fail;
use super::{ask, print_answer};
use crate::config::Config;
use crate::edge::control::{Command, Response};
use crate::ports::files::Bucket;
use crate::server;
use crate::service::Failure;

/// The formats of a device's QR picture.
const PICTURES: [&str; 2] = ["jpg", "png"];

/// Creates devices, and prints their secrets. A secret is shown only once: a device whose secret could not be printed
/// is removed again.
pub async fn add(config: Config, count: usize, key: Option<String>, out: Option<&Path>) -> Result<(), Failure> {
    let devices = match ask(config.clone(), Command::AddDevices { count, key }).await? {
        Response::Devices(devices) => devices,
        other => return print_answer(other),
    };
    for (printed, device) in devices.iter().enumerate() {
        let Err(error) = print_or_fail(format_args!("{}\t{}", device.key, device.secret)) else { continue };
        let keys: Vec<String> = devices[printed..].iter().map(|device| device.key.clone()).collect();
        let (left, all) = (keys.join(", "), keys.len());
        let removed = ask(config, Command::RemoveDevices { keys }).await;
        let outcome = match removed {
            Ok(Response::Lines(_)) => format!("{all} devices whose secrets were not printed were removed again"),
            Ok(Response::Failed(why)) => format!("devices whose secrets were not printed are left ({why}): {left}"),
            Ok(_) => format!("devices whose secrets were not printed are left: {left}"),
            Err(why) => format!("devices whose secrets were not printed are left ({why}): {left}"),
        };
        let kept = if printed > 0 { format!(", {printed} were printed and are kept") } else { String::new() };
        return Err(Failure::Command(format!("the output cannot be written ({error}): {outcome}{kept}")));
    }
    let Some(out) = out else { return Ok(()) };
    if let Some(bucket) = server::bucket(&config).map_err(Failure::Command)? {
        for device in &devices {
            fetch_pictures(&bucket, &device.key, out).await?;
        }
        return Ok(());
    }
    let pictures = config.server.files_dir().join("qr");
    for device in &devices {
        copy_pictures(&pictures, &device.key, out)?;
    }
    Ok(())
}

async fn fetch_pictures(bucket: &Bucket, key: &str, to: &Path) -> Result<(), Failure> {
    for extension in PICTURES {
        let name = format!("{key}.{extension}");
        let fault = |why: String| {
            let to = to.display();
            Failure::Command(format!("{to}: {name}: {why}; the devices are made, and their pictures are in the bucket"))
        };
        let picture = bucket.picture(&name).await.map_err(|error| fault(error.to_string()))?;
        std::fs::create_dir_all(to)
            .and_then(|()| std::fs::write(to.join(&name), &picture))
            .map_err(|error| fault(error.to_string()))?;
    }
    Ok(())
}

fn copy_pictures(from: &Path, key: &str, to: &Path) -> Result<(), Failure> {
    for extension in PICTURES {
        let name = format!("{key}.{extension}");
        std::fs::create_dir_all(to).and_then(|()| std::fs::copy(from.join(&name), to.join(&name))).map_err(
            |error| {
                let (from, to) = (from.display(), to.display());
                Failure::Command(format!("{to}: {error}; the devices are made, and their pictures are in {from}"))
            },
        )?;
    }
    Ok(())
}
