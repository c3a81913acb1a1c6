//! `/debug/adsz`: which proxies are connected to a replica, and since when.

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::proxy::Connected;
use crate::model::subject::Subject;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    total_clients: usize,
    // Go writes an empty list as null; a list that is not there is no answer.
    #[serde(deserialize_with = "clients")]
    clients: Vec<Client>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    connection_id: String,
    connected_at: Timestamp,
}

fn clients<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Client>, D::Error> {
    Ok(Option::<Vec<Client>>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads one replica's answer. One that is not whole tells nothing: who is missing in it would look disconnected,
/// and the replica less loaded than it is.
pub(in super::super) fn read(body: &[u8]) -> Result<Connected, String> {
    let written: Written =
        serde_json::from_slice(body).map_err(|error| format!("unexpected answer: {error}"))?;
    if written.total_clients != written.clients.len() {
        let (total, there) = (written.total_clients, written.clients.len());
        return Err(format!("unexpected answer: it says {total} clients and lists {there}"));
    }
    let mut connected = Connected::default();
    for client in written.clients {
        let pod = pod(&client.connection_id).ok_or_else(|| {
            format!("unexpected answer: no connection is called {:?}", client.connection_id)
        })?;
        // A pod that connects anew is there twice for a moment.
        let since = connected.since.entry(pod).or_insert(client.connected_at);
        *since = (*since).max(client.connected_at);
        connected.clients += 1;
    }
    Ok(connected)
}

/// The pod of a connection: `POD.NAMESPACE-NUMBER`.
fn pod(connection: &str) -> Option<Subject> {
    let (node, number) = connection.rsplit_once('-')?;
    let (name, namespace) = node.rsplit_once('.')?;
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && !name.is_empty() && !namespace.is_empty()).then(|| Subject::pod(namespace, name))
}
