//! The tables of a stopped hub, opened by the engine itself, so that tests can delete rows.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use surrealdb::Surreal;
use surrealdb::engine::local::Db;
use surrealdb_core::kvs::Datastore;

/// Hides the type of one of the engine's larger futures, whose layout the compiler cannot compute otherwise.
fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}

/// Runs a text on the tables of a stopped hub.
pub fn run(data: PathBuf, sql: String) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    boxed(async move {
        let address = format!("surrealkv://{}?sync=every", data.join("db").display());
        let opened = boxed(async move {
            let datastore = Datastore::builder().without_maintenance_tasks().build_with_path(&address).await.unwrap();
            datastore.check_version().await.unwrap();
            datastore.bootstrap().await.unwrap();
            datastore
        });
        let datastore = opened.await;
        let asked = Arc::clone(&datastore);
        let done = boxed(async move {
            let database = Surreal::<Db>::unstable_from_datastore(asked, None).await.unwrap();
            database.use_ns("toyhub").use_db("toyhub").await.unwrap();
            database.query(sql).await.unwrap().check().unwrap();
        });
        done.await;
        boxed(async move { datastore.shutdown().await.unwrap() }).await;
    })
}
