"""The deployed Worker with the batch size of the bill.  Runs inside workerd."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker import Default as Shipped  # type: ignore[import-not-found]  # it is, inside the Worker

if TYPE_CHECKING:
    from consumer.app import App


class Default(Shipped):  # type: ignore[misc]  # the class is known inside the Worker only
    """`BATCH_SIZE` is what `Config.batch_size` would be for a queue with such batches."""

    def _app(self, http: Any) -> App:
        app: App = super()._app(http)
        config = replace(app.world.config, batch_size=int(self._text("BATCH_SIZE", "10")))
        app.world = replace(app.world, config=config)
        return app
