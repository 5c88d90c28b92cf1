"""Names of the attribution methods and what must be said of them.

Apart from their code, so that a command line can list them at once. May depend on nothing.
"""

from typing import Final, Literal, get_args

Method = Literal[
    "grad_cam",
    "averaged_grad_cam",
    "guided_grad_cam",
    "integrated_gradients",
    "gradient_shap",
    "saliency",
    "occlusion",
]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

SAMPLING_METHODS: Final[tuple[Method, ...]] = ("gradient_shap", "saliency")
"""Methods whose map depends on a seed; it is fixed unless another is asked for."""

WARNINGS: Final[dict[str, str]] = {
    "guided_grad_cam": (
        "Guided Grad-CAM draws crisp edges even for a network of random weights (Adebayo et al. 2018). Read it as a "
        "sketch of the film, not as evidence; grad_cam shows the place without the sketch."
    ),
    "saliency": (
        "Saliency shows where the answer is sensitive to grey levels, not what speaks for a fracture; it has no sign."
    ),
}
"""What to say beside the map of a method that is easily misread."""
