"""Make this package's own architectures known to transformers.

With them registered, `pipeline()` and the Auto classes load a folder of DeepConvNet, the plain CNN or an enhanced
classifier without `trust_remote_code`; and what is saved carries its own code for those who do not have this package.
Imports torch when called. May depend on the files of this room.
"""

from functools import cache

from hf_fracture.errors import naming_missing_packages


@cache
@naming_missing_packages()
def register_models() -> None:
    """Register the configurations and models of this package; calling it again does nothing."""
    from transformers import AutoConfig, AutoModelForImageClassification

    from hf_fracture.models.deepconvnet import DeepConvNetConfig, DeepConvNetForImageClassification
    from hf_fracture.models.enhanced import EnhancedConfig, EnhancedForImageClassification
    from hf_fracture.models.plain_cnn import PlainCnnConfig, PlainCnnForImageClassification

    for config_class, model_class in (
        (DeepConvNetConfig, DeepConvNetForImageClassification),
        (PlainCnnConfig, PlainCnnForImageClassification),
        (EnhancedConfig, EnhancedForImageClassification),
    ):
        AutoConfig.register(config_class.model_type, config_class)
        AutoModelForImageClassification.register(config_class, model_class)
        config_class.register_for_auto_class()  # type: ignore[no-untyped-call]
        model_class.register_for_auto_class("AutoModelForImageClassification")  # type: ignore[no-untyped-call]
