//! A round trip over each broker, for `toyhub doctor`.

use std::time::{Duration, Instant};

use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish};
use tokio::time::timeout;

use super::link::{Link, LinkError};
use super::{Bus, BusAddress, BusSettings};
use crate::ports::router::Disk;

impl Bus {
    /// Connects to each broker, subscribes, and has a message come back; with the time that it takes, or why it fails, for
    /// each address, as one line. `settings` are those of a hub that there is not: a running hub is not disturbed.
    pub async fn round_trips(settings: BusSettings, disk: Disk) -> Vec<(String, Result<String, String>)> {
        let bus = Self::new(settings, 0, disk, Vec::new(), Vec::new());
        let mut found = Vec::new();
        for address in &bus.settings.addresses {
            let tried = bus.round_trip(address).await;
            // It would keep messages for a hub that there is not.
            let _ = Link::forget_session(address, &bus.settings, bus.will()).await;
            let times = tried.map(|(connected, back)| {
                let (connected, back) = (connected.as_millis(), back.as_millis());
                format!("connected after {connected} ms, a message came back after {back} ms")
            });
            let scheme = if address.tls.is_some() { "mqtts" } else { "mqtt" };
            let name = format!("{scheme}://{}:{}", address.host, address.port);
            found.push((name, times.map_err(|error| error.to_string())));
        }
        found
    }

    async fn round_trip(&self, address: &BusAddress) -> Result<(Duration, Duration), LinkError> {
        let start = Instant::now();
        let mut link = Link::open(address, &self.settings, &self.filters(), self.will()).await?;
        let connected = start.elapsed();
        let (topic, payload) = (format!("{}hub/{}", self.root, self.me.hub), b"toyhub doctor".to_vec());
        let mut publish = Publish::new(topic, mqttbytes::QoS::AtLeastOnce, payload.clone());
        publish.pkid = 1;
        link.send(&Packet::Publish(publish))?;
        link.flush().await?;
        let start = Instant::now();
        let echo = async {
            loop {
                if let Some(Packet::Publish(echo)) = link.next().await?
                    && echo.payload == payload
                {
                    return Ok(echo.pkid);
                }
            }
        };
        let id = timeout(self.settings.connect_timeout, echo).await.unwrap_or(Err(LinkError::Loses))?;
        let back = start.elapsed();
        link.send(&Packet::PubAck(PubAck { pkid: id }))?;
        link.close(self.settings.connect_timeout).await;
        Ok((connected, back))
    }
}
