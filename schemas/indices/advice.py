"""What to do in such air, in plain words: for adults, for sensitive groups, for children; in three languages.

The sentences are ours; what they advise follows EPA's activity guides (EPA-454/B-24-002, table 5) and, for the European
and British indices, the advice of the EEA and of COMEAP, which agree in what they ask of whom. One set of sentences
serves all indices: a category names the `severity` (0 to 5) that fits it.
"""

from dataclasses import dataclass

LANGUAGES = ("en", "es", "fr")


@dataclass(frozen=True)
class Advice:
    """A sentence for each audience."""

    adults: str
    sensitive: str
    children: str


NO_DATA_ADVICE: dict[str, str] = {
    "en": "No data: too few measurements for this index.",
    "es": "Sin datos: hay muy pocas mediciones para este índice.",
    "fr": "Pas de données : trop peu de mesures pour cet indice.",
}

ADVICE: dict[str, tuple[Advice, ...]] = {
    "en": (
        Advice(
            "The air is clean. Enjoy being outdoors.",
            "No need to change your plans.",
            "Good air for play and sport.",
        ),
        Advice(
            "You can be active outdoors as usual.",
            "If you react easily to polluted air, watch for cough or short breath and then take it easier.",
            "Children can play outdoors; let a child with asthma rest when it coughs.",
        ),
        Advice(
            "Most adults can go on as usual.",
            "With asthma, heart or lung disease, in pregnancy or old age: make outdoor effort shorter and lighter.",
            "Plan more breaks in outdoor sport, and keep asthma medicine at hand.",
        ),
        Advice(
            "Cut down on long or heavy effort outdoors.",
            "Move effort indoors or to another day, and follow your doctor's plan.",
            "Choose quiet games, and move sport indoors.",
        ),
        Advice(
            "Avoid long or heavy effort outdoors.",
            "Stay indoors where the air is clean, and avoid any effort.",
            "Keep children indoors, with the windows closed.",
        ),
        Advice(
            "Stay indoors and avoid effort; wear a well-fitting mask (N95, FFP2) if you must go out.",
            "Stay indoors, rest, keep the air clean with a filter, and seek help if breathing gets hard.",
            "Keep children indoors in filtered air, and call a doctor if breathing gets hard.",
        ),
    ),
    "es": (
        Advice(
            "El aire está limpio. Disfrute al aire libre.",
            "No hace falta cambiar de planes.",
            "Buen aire para jugar y hacer deporte.",
        ),
        Advice(
            "Puede hacer su actividad normal al aire libre.",
            "Si el aire contaminado le afecta con facilidad, baje el ritmo si nota tos o falta de aliento.",
            "Los niños pueden jugar fuera; si un niño con asma tose, que descanse.",
        ),
        Advice(
            "La mayoría de los adultos puede seguir como siempre.",
            "Con asma, enfermedad del corazón o del pulmón, embarazo o edad avanzada: esfuerzos más cortos y suaves.",
            "Haga más pausas en el deporte al aire libre y tenga a mano la medicación del asma.",
        ),
        Advice(
            "Reduzca los esfuerzos largos o intensos al aire libre.",
            "Haga el esfuerzo en interiores u otro día, y siga el plan de su médico.",
            "Elija juegos tranquilos y lleve el deporte a interiores.",
        ),
        Advice(
            "Evite los esfuerzos largos o intensos al aire libre.",
            "Quédese en interiores con aire limpio y evite todo esfuerzo.",
            "Mantenga a los niños dentro, con las ventanas cerradas.",
        ),
        Advice(
            "Quédese dentro y evite esfuerzos; si debe salir, lleve una mascarilla bien ajustada (N95, FFP2).",
            "Quédese dentro, descanse, filtre el aire y pida ayuda si le cuesta respirar.",
            "Mantenga a los niños dentro con aire filtrado y llame al médico si les cuesta respirar.",
        ),
    ),
    "fr": (
        Advice(
            "L'air est pur. Profitez du plein air.",
            "Pas besoin de changer vos projets.",
            "Un bon air pour jouer et faire du sport.",
        ),
        Advice(
            "Vos activités habituelles en plein air sont possibles.",
            "Si vous réagissez vite à l'air pollué, ralentissez en cas de toux ou d'essoufflement.",
            "Les enfants peuvent jouer dehors ; un enfant asthmatique qui tousse doit se reposer.",
        ),
        Advice(
            "La plupart des adultes peuvent continuer comme d'habitude.",
            "Asthme, maladie du cœur ou des poumons, grossesse, grand âge : des efforts plus courts et plus légers.",
            "Plus de pauses pendant le sport en plein air, et le traitement de l'asthme à portée de main.",
        ),
        Advice(
            "Réduisez les efforts longs ou intenses en plein air.",
            "Faites vos efforts à l'intérieur ou un autre jour, et suivez le plan de votre médecin.",
            "Préférez les jeux calmes, et le sport à l'intérieur.",
        ),
        Advice(
            "Évitez les efforts longs ou intenses en plein air.",
            "Restez à l'intérieur, dans un air propre, et évitez tout effort.",
            "Gardez les enfants à l'intérieur, fenêtres fermées.",
        ),
        Advice(
            "Restez à l'intérieur et évitez les efforts ; pour sortir, un masque bien ajusté (N95, FFP2).",
            "Restez à l'intérieur, reposez-vous, filtrez l'air, et demandez de l'aide si vous respirez mal.",
            "Gardez les enfants dans un air filtré, et appelez un médecin s'ils respirent mal.",
        ),
    ),
}  # fmt: skip
"""Language -> advice by severity, 0 to 5."""

CATEGORY_NAMES: dict[str, dict[str, str]] = {
    "es": {
        "Good": "Buena", "Moderate": "Moderada", "Unhealthy for Sensitive Groups": "Dañina para grupos sensibles",
        "Unhealthy": "Dañina", "Very Unhealthy": "Muy dañina", "Hazardous": "Peligrosa",
        "Fair": "Aceptable", "Poor": "Mala", "Very poor": "Muy mala", "Extremely poor": "Extremadamente mala",
        "Low": "Baja", "High": "Alta", "Very High": "Muy alta",
        "Within the guideline": "Dentro de la guía", "Above the guideline": "Por encima de la guía",
        "no data": "sin datos",
    },
    "fr": {
        "Good": "Bon", "Moderate": "Modéré", "Unhealthy for Sensitive Groups": "Mauvais pour les groupes sensibles",
        "Unhealthy": "Mauvais", "Very Unhealthy": "Très mauvais", "Hazardous": "Dangereux",
        "Fair": "Assez bon", "Poor": "Médiocre", "Very poor": "Très médiocre", "Extremely poor": "Extrêmement médiocre",
        "Low": "Faible", "High": "Élevé", "Very High": "Très élevé",
        "Within the guideline": "Dans la recommandation", "Above the guideline": "Au-dessus de la recommandation",
        "no data": "pas de données",
    },
}  # fmt: skip
"""Language -> the authorities' names in that language; English ones are the authorities' own."""


def category_name(name: str, language: str) -> str:
    """A category's name in a language of `LANGUAGES`."""
    return CATEGORY_NAMES.get(language, {}).get(name, name)
