"""Says after each epoch how often a feature store had what was asked for."""

from __future__ import annotations

import logging

import lightning

from modise_lightning.feature_store.store import FeatureStore, readable

_LOGGER = logging.getLogger(__name__)


class FeatureStoreReport(lightning.Callback):
    """Logs the hit rate of each epoch, the validation in it included."""

    def __init__(self, store: FeatureStore) -> None:
        """Take the store that the segmenter asks."""
        self.store = store

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count anew."""
        self.store.hits = self.store.misses = 0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say how many entries were there, and how much room they take."""
        hits, asked = self.store.hits, self.store.hits + self.store.misses
        rate = hits / max(asked, 1)
        pl_module.log("feature_store/hit_rate", rate, sync_dist=True)
        if trainer.is_global_zero:
            _LOGGER.info(
                "feature store: epoch %d found %d of %d entries (%.1f %%); it holds %s of at most %s in %s",
                trainer.current_epoch,
                hits,
                asked,
                100 * rate,
                readable(self.store.used_bytes),
                readable(self.store.max_bytes),
                self.store.where,
            )
