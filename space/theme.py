"""The page's looks: a quiet theme, in the fonts of the visitor's own system. The rest is in `page.css`."""

import gradio as gr

_INK, _INK_DARK = "#15242b", "#e6eef1"
_SOFT, _SOFT_DARK = "#4b5d67", "#a9b9c2"
_LINE, _LINE_DARK = "#d5dee2", "#2c3a42"
_SHEET, _SHEET_DARK = "#ffffff", "#141c21"
_ACCENT, _ACCENT_DARK = "#0f766e", "#5fd3c2"


def build_theme() -> gr.themes.Base:
    """Return the theme: teal on slate, light and dark, contrast of at least 4.5 to 1 for every text."""
    sans, mono = ["system-ui", "Segoe UI", "Roboto", "sans-serif"], ["ui-monospace", "Menlo", "Consolas", "monospace"]
    theme = gr.themes.Base(primary_hue="teal", neutral_hue="slate", radius_size="lg", font=sans, font_mono=mono)
    return theme.set(
        body_background_fill="#f3f6f7",
        body_background_fill_dark="#0d1316",
        body_text_color=_INK,
        body_text_color_dark=_INK_DARK,
        body_text_color_subdued=_SOFT,
        body_text_color_subdued_dark=_SOFT_DARK,
        block_background_fill=_SHEET,
        block_background_fill_dark=_SHEET_DARK,
        block_border_color=_LINE,
        block_border_color_dark=_LINE_DARK,
        block_label_text_color=_SOFT,
        block_label_text_color_dark=_SOFT_DARK,
        block_info_text_color=_SOFT,
        block_info_text_color_dark=_SOFT_DARK,
        block_title_text_color=_INK,
        block_title_text_color_dark=_INK_DARK,
        input_background_fill=_SHEET,
        input_background_fill_dark="#0d1316",
        color_accent=_ACCENT,
        slider_color=_ACCENT,
        slider_color_dark=_ACCENT_DARK,
        link_text_color=_ACCENT,
        link_text_color_dark=_ACCENT_DARK,
        button_primary_background_fill=_ACCENT,
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark=_ACCENT,
        button_primary_text_color="#ffffff",
    )
