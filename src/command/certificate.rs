//! `toyhub certificate`: TLS for the home network.

use std::path::Path;

use super::output::print;
use crate::edge::wire::now;
use crate::ports::certificate::{self, Made};
use crate::service::Failure;

/// Creates a certificate, and prints how to use it.
pub(super) fn make(folder: &Path, names: &[String]) -> Result<(), Failure> {
    let Made { authority, is_known, certificate, key, until, names } =
        certificate::make(folder, names, now() as i64).map_err(Failure::Command)?;
    let [authority, certificate, key] = [authority, certificate, key].map(|path| path.display().to_string());
    let (host, was) = (names.first().map_or("localhost", String::as_str), if is_known { "as before" } else { "new" });
    print(format_args!(
        "\
{authority}\tthe authority, {was}: devices trust it once
{certificate}\tthe hub's certificate, good until {until}, for {names}

1. Set in broker.toml, and start the hub again:

[net]
tls_certificate = {certificate:?}
tls_key = {key:?}
[http]
tls_listen = [\"0.0.0.0:9443\"]
[mqtt]
tls_listen = [\"0.0.0.0:8883\"]

2. Have each device trust the authority. Copy {authority} to it, and no other file:

   Android  Settings, Security, More security settings, Install from storage, CA certificate
   iPhone   open the file, install the profile in Settings, General, VPN & Device Management;
            then switch it on in Settings, General, About, Certificate Trust Settings
   toys     load it as the root certificate of the MQTT client
   try it   curl --cacert {authority} https://{host}:9443/healthz
            mosquitto_pub --cafile {authority} -h {host} -p 8883 …

Keep ca.key from everybody: with it, others can pretend to be any web site to these devices. Run this command again for
more names, or before the certificate ends: the authority stays, and a running hub uses the new certificate by itself.",
        names = names.join(", "),
    ))
}
