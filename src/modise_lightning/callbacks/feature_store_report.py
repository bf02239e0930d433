"""Says how often a feature store had what was asked for."""

from __future__ import annotations

import logging

import lightning

from modise_lightning.feature_store.store import FeatureStore, readable

_LOGGER = logging.getLogger(__name__)


class FeatureStoreReport(lightning.Callback):
    """Logs the hit rate of each epoch, the validation in it included, and sums up at the end."""

    def __init__(self, store: FeatureStore) -> None:
        """Take the store that the segmenter asks."""
        self.store = store

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count anew."""
        self.store.hits = self.store.misses = 0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log how many entries were there."""
        pl_module.log("feature_store/hit_rate", self._hit_rate, sync_dist=True)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say how it ended, once: lines between progress bars are hard to read."""
        if trainer.is_global_zero:
            _LOGGER.info(
                "feature store: had %.0f %% of what the last epoch asked for; holds %s of at most %s in %s",
                100 * self._hit_rate,
                readable(self.store.used_bytes),
                readable(self.store.max_bytes),
                self.store.where,
            )

    @property
    def _hit_rate(self) -> float:
        asked = self.store.hits + self.store.misses
        return self.store.hits / max(asked, 1)
