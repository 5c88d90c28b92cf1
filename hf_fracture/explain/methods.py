"""Names of the attribution methods, apart from their code so that a command line can list them at once.

May depend on nothing.
"""

from typing import Final, Literal, get_args

Method = Literal["grad_cam", "integrated_gradients", "gradient_shap", "saliency", "occlusion"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
